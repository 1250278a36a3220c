"""ImageNet-100 (126,689 + 5,000 images, the list of CMC) as token stores; docs/data.md makes them."""

_base_ = "./token_stores.py"

data_root = "data/imagenet100-tokens/"
num_classes = 100

data_preprocessor = dict(codebook=data_root + "train", num_classes=num_classes)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
