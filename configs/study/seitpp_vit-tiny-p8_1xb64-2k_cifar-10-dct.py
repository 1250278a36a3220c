"""SeiT++ without MTM on DCT coefficients, whose TokenAdapt regresses them (compare SeiT++, Table 8).

    python tools/train.py configs/study/seitpp_vit-tiny-p8_1xb64-2k_cifar-10-dct.py

Expect: see docs/study.md.
"""

_base_ = "./seitpp_vit-tiny-p8_1xb64-2k_fashion-mnist-dct.py"

data_root = "data/study-cifar-10-dct/"
channels = 18
model = dict(backbone=dict(code_dim=channels))
adapted = dict(
    _base_.adapted,
    checkpoint="work_dirs/tokenadapt_d64_1xb64-3k_cifar-10-dct-32px/iter_3000.pth",
    augments=[dict(type="seitpp.BatchRandomFlip", prob=0.5), *_base_.adapted.augments],
)
augments = [dict(_base_.half_adapted, second=[adapted]), *_base_.augments[1:]]
data_preprocessor = dict(channels=channels, augments=augments)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
