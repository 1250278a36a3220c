"""ImageNet-100 as images in class folders, data/imagenet100/{train,val}/, with DeiT's augmentation of pixels."""

_base_ = "./in1k_pixels-224px.py"

data_root = "data/imagenet100/"
num_classes = 100

data_preprocessor = dict(num_classes=num_classes)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
