"""Fashion-MNIST, 28 x 28 grey pixels, without labels; configs/study/README.md makes the folders."""

_base_ = "./digits_images.py"

data_root = "data/study/"

train_dataloader = dict(dataset=dict(data_root=data_root), sampler=dict(type="mmengine.InfiniteSampler"))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, data_prefix="test"))
