"""CIFAR-10, 32 x 32 RGB pixels, without labels; configs/study/README.md makes the folders."""

_base_ = "./study_fashion-mnist_images.py"

data_root = "data/study-cifar-10/"

data_preprocessor = dict(mean=[0] * 3, std=[255] * 3, to_rgb=True)
pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.PackInputs"),
]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=pipeline))
