"""The same ViT on pixels, in patches of 4 x 4; half of the images are flipped.

    python tools/train.py configs/study/vit-tiny-p4_1xb64-2k_cifar-10-pixels.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/pixels_vit-tiny-p2.py",
    "../_base_/datasets/cifar-10_pixels.py",
    "../_base_/schedules/study_adamw_1xb64-2k.py",
    "../_base_/study_runtime.py",
]

model = dict(backbone=dict(img_size=_base_.image_size, patch_size=4, in_channels=3))

data_root = "data/study-cifar-10/"
train_dataloader = dict(dataset=dict(data_root=data_root), sampler=dict(type="mmengine.InfiniteSampler"))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, data_prefix="test"))
