"""SeiT++ on digits, one of the quickstart's training runs: a classifier fine-tuned from MTM.

    python tools/train.py configs/seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py

Expect: see README.md, whose table tools/quickstart.sh prints.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/augments/digits_finetune.py",
    "../_base_/schedules/finetune_adamw_8xb128-100e.py",
    "../_base_/default_runtime.py",
]

encoder = dict(type="Pretrained", checkpoint="work_dirs/quickstart/mtm/epoch_100.pth", prefix="backbone.")
# SeiT's stem, which sees the codes around each, starts from that of MTM, which sees one (ours).
stem = dict(kernel_size=3, stride=1, padding=1)
model = dict(backbone=dict(init_cfg=encoder, patch_cfg=stem, inflate_stem=True))
data_preprocessor = dict(augments=_base_.augments, num_classes=10)

max_epochs = 60
lr = 4e-3
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=0.75))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=2, end=max_epochs, eta_min_ratio=1e-6 / lr)
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
default_hooks = dict(logger=dict(interval=9), checkpoint=dict(interval=10, max_keep_ckpts=1))
