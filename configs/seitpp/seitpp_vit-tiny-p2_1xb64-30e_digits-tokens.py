"""Digits from scratch, the baseline that the quickstart compares with: its fine-tuning recipe without layer decay.

    python tools/train.py configs/seitpp/seitpp_vit-tiny-p2_1xb64-30e_digits-tokens.py

Expect: see README.md, whose table tools/quickstart.sh prints.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/schedules/finetune_adamw_8xb128-100e.py",
    "../_base_/default_runtime.py",
]

max_epochs = 30
lr = 1.6e-2  # the best of 1e-3, 2e-3, 4e-3, 8e-3 and 1.6e-2 from scratch on the held-out images
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=1.0))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=2, end=max_epochs, eta_min_ratio=1e-6 / lr)
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
default_hooks = dict(logger=dict(interval=9), checkpoint=dict(interval=10, max_keep_ckpts=1))
