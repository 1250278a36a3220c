"""SeiT++'s pipeline for MNIST's 7 x 7 codes: the digits' one at their size."""

_base_ = "./digits_seitpp.py"

geometry = [_base_.affine, dict(_base_.crop_of_map, size=14)]
token_adapt_augment = dict(
    _base_.token_adapt_augment,
    token_adapt=dict(_base_.token_adapt_augment.token_adapt, out_grid=7),
    checkpoint="work_dirs/tokenadapt_d64_1xb64-15e_mnist5k-28px/epoch_15.pth",
)
adapted = dict(augments=[*geometry, _base_.rare_mixing], **token_adapt_augment)
augments = [dict(_base_.half_adapted, second=[adapted]), _base_.colour_change, _base_.cutmix_of_the_others]
