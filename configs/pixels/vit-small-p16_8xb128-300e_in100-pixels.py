"""ViT-S from scratch on pixels, ImageNet-100: the pixel side of SeiT++'s Tables 6 to 8, which report none.

    bash tools/dist_train.sh configs/pixels/vit-small-p16_8xb128-300e_in100-pixels.py 8 --amp

Expect: not run here, and the paper has no such number.
"""

_base_ = [
    "../_base_/models/deit_vit-small-p16.py",
    "../_base_/datasets/in100_pixels-224px.py",
    "../_base_/schedules/deit_adamw_8xb128-300e.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
