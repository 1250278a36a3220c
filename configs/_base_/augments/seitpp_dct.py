"""SeiT++'s pipeline for DCT coefficients, as seit_dct.py; TokenAdapt regresses them (ours)."""

_base_ = "./seitpp.py"

adapted = dict(_base_.adapted, checkpoint="work_dirs/tokenadapt_d384_1xb128-1e_in1k-dct-256px/epoch_1.pth")
emb_noise = dict(_base_.emb_noise, relative=True)
augments = [
    dict(_base_.crop_or_token_adapt, second=[adapted]),
    dict(_base_.colour_change, transforms=[emb_noise, _base_.color_adapt]),
    _base_.cutmix_of_the_others,
]
