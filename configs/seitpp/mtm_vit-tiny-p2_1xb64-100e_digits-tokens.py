"""MTM pre-training on digits, the quickstart's first training run; a minute on two CPU cores.

    python tools/train.py configs/seitpp/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py

Expect: see README.md, whose table tools/quickstart.sh prints. No augmentation: 4 x 4 codes leave nothing to crop.
"""

_base_ = [
    "../_base_/models/mtm_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/schedules/mtm_adamw_8xb512-400e.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(with_data_samples=False)

max_epochs = 100
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=10, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=50)
default_hooks = dict(logger=dict(interval=18), checkpoint=dict(interval=10, max_keep_ckpts=1))
