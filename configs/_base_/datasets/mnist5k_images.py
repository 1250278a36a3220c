"""Five thousand images of MNIST, 28 x 28 grey pixels; written by tools/dataset_converters/mnist_5k.py."""

_base_ = "./digits_images.py"

data_root = "data/mnist5k/"

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
