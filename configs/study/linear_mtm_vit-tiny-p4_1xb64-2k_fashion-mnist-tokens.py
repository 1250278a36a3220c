"""Linear probe of MTM's encoder, without augmentation.

    python tools/train.py configs/study/linear_mtm_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/mtm-linear_vit-tiny-p2.py",
    "../_base_/datasets/study_tokens.py",
    "../_base_/schedules/linear_lars_8xb2048-90e.py",
    "../_base_/study_runtime.py",
]

encoder = dict(
    type="Pretrained",
    checkpoint="work_dirs/mtm_vit-tiny-p4_1xb64-4k_fashion-mnist-tokens/iter_4000.pth",
    prefix="backbone.",
)
model = dict(backbone=dict(grid_size=7, codebook_size=256, init_cfg=encoder))

max_epochs = None
max_iters = 2000
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=100, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(norm_statistics=dict(type="seitpp.SyncNormStatisticsHook"))
