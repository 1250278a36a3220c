"""Digits from scratch, the baseline that the quickstart compares with: its fine-tuning recipe without layer decay.

    python tools/train.py configs/seitpp/seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py

Expect: see README.md, whose table tools/quickstart.sh prints.
"""

_base_ = [
    "../_base_/models/mtm-classifier_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/augments/digits_parts.py",
    "../_base_/schedules/finetune_adamw_8xb128-100e.py",
    "../_base_/default_runtime.py",
]

# The pipeline of _base_/augments/mtm_finetune.py, each change rarer: so few steps and codes have room for little.
data_preprocessor = dict(
    augments=[
        dict(
            type="seitpp.SplitBatch",
            share=0.5,
            first=[dict(type="seitpp.RandomApply", transforms=dict(type="seitpp.TokenCutMix", alpha=1.0), prob=0.2)],
            second=[
                dict(
                    augments=[
                        *_base_.geometry,
                        dict(
                            type="seitpp.OneOf",
                            transforms=[
                                dict(type="seitpp.BatchMixup", alpha=0.8),
                                dict(type="seitpp.BatchCutMix", alpha=1.0),
                            ],
                            probs=[0.1, 0.1],
                        ),
                    ],
                    **_base_.token_adapt_augment,
                ),
            ],
        ),
        dict(
            type="seitpp.OneOf",
            transforms=[
                # Codes are pixels in [0, 1] here.
                dict(type="seitpp.EmbNoise", std=0.05, channel_std=0.05, prob=0.5),
                dict(type="seitpp.ColorAdapt", prob=0.25),
            ],
            probs=[0.3, 0.1],
        ),
    ],
    num_classes=10,
)

max_epochs = 60
# The best of 1e-3, 2e-3, 4e-3, 8e-3 and 1.6e-2 from scratch on the held-out images, without augmentation.
lr = 1.6e-2
optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=1.0))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=2, end=max_epochs, eta_min_ratio=1e-6 / lr)
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
default_hooks = dict(logger=dict(interval=9), checkpoint=dict(interval=10, max_keep_ckpts=1))
