"""CIFAR-10, or other RGB images of about 32 x 32 pixels, in class folders: data/cifar-10/{train,val}/; with flips."""

_base_ = "./fashion-mnist_pixels.py"

data_root = "data/cifar-10/"
image_size = 32

data_preprocessor = dict(mean=[0] * 3, std=[255] * 3, to_rgb=True)

loading_step = dict(type="mmcv.LoadImageFromFile")
crop = dict(_base_.crop, scale=image_size)
resize = dict(_base_.resize, scale=(image_size, image_size))
flip = dict(type="mmpretrain.RandomFlip", prob=0.5)
tested = dict(data_root=data_root, pipeline=[loading_step, resize, _base_.packing])

train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=[loading_step, crop, flip, _base_.packing]))
val_dataloader = dict(dataset=tested)
test_dataloader = dict(dataset=tested)
