"""ImageNet-100 as codes of the OpenImages VQGAN: 32 x 32 of 16,384, 4 values per code; docs/data.md makes them."""

_base_ = "./token_stores.py"

data_root = "data/imagenet100-vqgan-tokens/"
num_classes = 100
codebook_size = 16384

data_preprocessor = dict(codebook=data_root + "train", distance="euclidean", num_classes=num_classes)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
