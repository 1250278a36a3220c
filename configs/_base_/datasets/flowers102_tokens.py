"""Oxford Flowers-102 (2,040 + 6,149 images) as token stores; docs/data.md makes them."""

_base_ = "./token_stores.py"

data_root = "data/flowers102-tokens/"
num_classes = 102

data_preprocessor = dict(codebook=data_root + "train", num_classes=num_classes)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root, store="test"))
test_dataloader = val_dataloader
