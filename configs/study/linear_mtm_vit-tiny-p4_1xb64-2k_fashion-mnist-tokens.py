"""Linear probe of MTM's encoder, without augmentation.

    python tools/train.py configs/study/linear_mtm_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/mtm-linear_vit-tiny-p2.py",
    "../_base_/datasets/study_fashion-mnist_tokens.py",
    "../_base_/schedules/study_linear_lars_1xb64-2k.py",
    "../_base_/study_runtime.py",
]

encoder = dict(
    type="Pretrained",
    checkpoint="work_dirs/mtm_vit-tiny-p4_1xb64-4k_fashion-mnist-tokens/iter_4000.pth",
    prefix="backbone.",
)
model = dict(backbone=dict(grid_size=_base_.grid_size, codebook_size=_base_.codebook_size, init_cfg=encoder))
default_hooks = dict(norm_statistics=dict(type="seitpp.SyncNormStatisticsHook"))
