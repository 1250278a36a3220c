"""SeiT on DCT coefficients (compare SeiT++, Table 8).

    python tools/train.py configs/study/seit_vit-tiny-p8_1xb64-2k_cifar-10-dct.py

Expect: see docs/study.md.
"""

_base_ = "./seit_vit-tiny-p4_1xb64-2k_cifar-10-tokens.py"

data_root = "data/study-cifar-10-dct/"
grid_size, channels = 4, 18
model = dict(backbone=dict(grid_size=grid_size, code_dim=channels))
augments = [
    dict(_base_.token_rrc, size=grid_size),
    dict(_base_.emb_noise, relative=True),  # in units of a channel's deviation
    _base_.rare_cutmix,
]
data_preprocessor = dict(codebook=None, channels=channels, augments=augments)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
