"""SeiT++ on five thousand images of MNIST: a classifier fine-tuned from MTM.

    python tools/train.py configs/seitpp/seitpp_vit-tiny-p4_mtm-40e-pre_1xb64-30e_mnist5k-tokens.py

Expect: see docs/results.md.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-tiny-p2.py",
    "../_base_/datasets/mnist5k_tokens.py",
    "../_base_/augments/mnist5k_finetune.py",
    "../_base_/schedules/finetune_adamw_8xb128-100e.py",
    "../_base_/default_runtime.py",
]

model = dict(
    backbone=dict(
        grid_size=7,
        codebook_size=256,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="work_dirs/mtm_vit-tiny-p4_1xb64-40e_mnist5k-tokens/epoch_40.pth",
            prefix="backbone.",
        ),
    )
)
data_preprocessor = dict(augments=_base_.augments, num_classes=10)

max_epochs = 30
lr = 4e-3
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=0.75))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=1, end=max_epochs, eta_min_ratio=1e-6 / lr)
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
