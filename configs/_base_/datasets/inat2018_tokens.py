"""iNaturalist 2018 (437,513 + 24,426 images) as token stores; docs/data.md makes them."""

_base_ = "./token_stores.py"

data_root = "data/inat2018-tokens/"
num_classes = 8142

data_preprocessor = dict(codebook=data_root + "train", num_classes=num_classes)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
