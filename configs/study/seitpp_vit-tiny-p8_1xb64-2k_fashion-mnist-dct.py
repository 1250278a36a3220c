"""SeiT++ without MTM on DCT coefficients, whose TokenAdapt regresses them (compare SeiT++, Table 8).

    python tools/train.py configs/study/seitpp_vit-tiny-p8_1xb64-2k_fashion-mnist-dct.py

Expect: see docs/study.md.
"""

_base_ = "./seitpp_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens.py"

data_root = "data/study-dct/"
grid_size, channels = 4, 12
model = dict(backbone=dict(grid_size=grid_size, code_dim=channels))
geometry = [_base_.affine, dict(_base_.crop_of_map, size=2 * grid_size)]
adapted = dict(
    _base_.token_adapt_augment,
    token_adapt=dict(_base_.token_adapt_augment.token_adapt, out_grid=grid_size),
    checkpoint="work_dirs/tokenadapt_d64_1xb64-3k_fashion-mnist-dct-32px/iter_3000.pth",
    augments=[*geometry, _base_.rare_mixing],
)
emb_noise = dict(_base_.emb_noise, prob=0.5, relative=True)  # in units of a channel's deviation
colour_change = dict(_base_.colour_change, transforms=[emb_noise, _base_.colour_change.transforms[1]])
augments = [dict(_base_.half_adapted, second=[adapted]), colour_change, _base_.cutmix_of_the_others]
data_preprocessor = dict(codebook=None, channels=channels, augments=augments)
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
