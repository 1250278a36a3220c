"""ImageNet-100 as DCT coefficients: 32 x 32 blocks of 33 integers, no codebook; docs/data.md makes the stores.

The paper (Sec. 4.6) says "quantized DCT coefficients" of 8 x 8 patches, which have 192. The choice of 33, and of
quality 50, is ours.
"""

_base_ = "./token_stores.py"

data_root = "data/imagenet100-dct/"
num_classes = 100
channels = 33

data_preprocessor = dict(codebook=None, channels=channels, output="embeddings", num_classes=num_classes)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
