"""The ViT of SeiT's digits on their pixels, one of the quickstart's training runs.

    python tools/train.py configs/pixels/vit-tiny-p2_1xb64-60e_digits-pixels.py

Expect: see README.md, whose table tools/quickstart.sh prints.
"""

_base_ = [
    "../_base_/models/pixels_vit-tiny-p2.py",
    "../_base_/datasets/digits_pixels.py",
    "../_base_/schedules/seit_adamw_1xb64-60e.py",
    "../_base_/default_runtime.py",
]

# A stem that sees as much as SeiT's: 3 x 3 patches.
model = dict(backbone=dict(patch_cfg=dict(kernel_size=6, stride=2, padding=2)))
default_hooks = dict(logger=dict(interval=9), checkpoint=dict(interval=10, max_keep_ckpts=1))
