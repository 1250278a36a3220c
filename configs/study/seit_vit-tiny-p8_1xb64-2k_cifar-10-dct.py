"""SeiT on DCT coefficients (compare SeiT++, Table 8).

    python tools/train.py configs/study/seit_vit-tiny-p8_1xb64-2k_cifar-10-dct.py

Expect: see docs/study.md.
"""

_base_ = "./seit_vit-tiny-p8_1xb64-2k_fashion-mnist-dct.py"

data_root = "data/study-cifar-10-dct/"
channels = 18
model = dict(backbone=dict(code_dim=channels))
data_preprocessor = dict(channels=channels)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
