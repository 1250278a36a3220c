"""iNaturalist 2019 (265,213 + 3,030 images) as token stores; docs/data.md makes them."""

_base_ = "./token_stores.py"

data_root = "data/inat2019-tokens/"
num_classes = 1010

data_preprocessor = dict(codebook=data_root + "train", num_classes=num_classes)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
