"""MTM pre-training on five thousand images of MNIST.

    python tools/train.py configs/mtm/mtm_vit-tiny-p4_1xb64-40e_mnist5k-tokens.py

Expect: see docs/results.md.
"""

_base_ = [
    "../_base_/models/mtm_vit-tiny-p2.py",
    "../_base_/datasets/mnist5k_tokens.py",
    "../_base_/augments/mnist5k_seitpp.py",
    "../_base_/schedules/mtm_adamw_8xb512-400e.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(grid_size=7, codebook_size=256))
adapted = dict(augments=_base_.geometry, **_base_.token_adapt_augment)
data_preprocessor = dict(
    augments=[dict(type="seitpp.SplitBatch", share=0.5, first=[], second=[adapted])], with_data_samples=False
)
train_dataloader = dict(dataset=dict(with_labels=False))
val_dataloader = dict(dataset=dict(with_labels=False))
test_dataloader = val_dataloader

max_epochs = 40
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=4, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
