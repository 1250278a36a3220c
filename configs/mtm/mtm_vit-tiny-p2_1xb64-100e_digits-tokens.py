"""MTM pre-training on digits, the quickstart's first training run on tokens; a minute or two on two CPU cores.

    python tools/train.py configs/mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py

Expect: see README.md, whose table tools/quickstart.sh prints. Half of a batch as it is, half through TokenAdapt.
"""

_base_ = [
    "../_base_/models/mtm_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/augments/digits_parts.py",
    "../_base_/schedules/mtm_adamw_8xb512-400e.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(
    augments=[
        dict(
            type="seitpp.SplitBatch",
            share=0.5,
            first=[],
            second=[dict(augments=_base_.geometry, **_base_.token_adapt_augment)],
        )
    ],
    with_data_samples=False,
)
train_dataloader = dict(dataset=dict(with_labels=False))
val_dataloader = dict(dataset=dict(with_labels=False))
test_dataloader = val_dataloader

max_epochs = 100
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=10, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=50)
default_hooks = dict(logger=dict(interval=18), checkpoint=dict(interval=10, max_keep_ckpts=1))
