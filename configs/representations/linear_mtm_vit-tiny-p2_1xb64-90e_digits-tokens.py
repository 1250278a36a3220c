"""Linear probe of the quickstart's MTM of digits, without augmentation: 4 x 4 codes have little to crop.

    python tools/train.py configs/representations/linear_mtm_vit-tiny-p2_1xb64-90e_digits-tokens.py

Expect: see docs/results.md.
"""

_base_ = [
    "../_base_/models/mtm-linear_vit-tiny-p2.py",
    "../_base_/datasets/digits_tokens.py",
    "../_base_/schedules/linear_lars_8xb2048-90e.py",
    "../_base_/default_runtime.py",
]

encoder = dict(type="Pretrained", checkpoint="work_dirs/quickstart/mtm/epoch_100.pth", prefix="backbone.")
model = dict(backbone=dict(init_cfg=encoder))
# LARS moves the weights by the rate whatever the gradients, so that few steps need no smaller rate.
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(
    logger=dict(interval=18),
    checkpoint=dict(interval=90, max_keep_ckpts=1),
    norm_statistics=dict(type="seitpp.SyncNormStatisticsHook"),
)
