"""MTM pre-training on Fashion-MNIST's tokens, with SeiT++'s augmentation.

    python tools/train.py configs/study/mtm_vit-tiny-p4_1xb64-4k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/mtm_vit-tiny-p2.py",
    "../_base_/datasets/study_tokens.py",
    "../_base_/augments/study_seitpp.py",
    "../_base_/schedules/mtm_adamw_8xb512-400e.py",
    "../_base_/study_runtime.py",
]

model = dict(backbone=dict(grid_size=7, codebook_size=256))
moved = dict(augments=_base_.geometry, **_base_.token_adapt_augment)
data_preprocessor = dict(
    augments=[dict(type="seitpp.SplitBatch", share=0.5, first=[], second=[moved])], with_data_samples=False
)
train_dataloader = dict(dataset=dict(with_labels=False))
val_dataloader = dict(dataset=dict(with_labels=False))
test_dataloader = dict(dataset=dict(with_labels=False))

max_epochs = None
max_iters = 4000
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=200, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
