"""ImageNet-1k (1,281,167 + 50,000 images) as token stores, of SeiT's published tokens or one's own; docs/data.md."""

_base_ = "./token_stores.py"

data_root = "data/imagenet1k-tokens/"

data_preprocessor = dict(codebook=data_root + "train")
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
