"""SeiT++'s pipeline for the OpenImages VQGAN's codes, K = 16,384, 4 values per code."""

_base_ = "./seitpp.py"

adapted = dict(
    _base_.adapted,
    token_adapt=dict(_base_.adapted.token_adapt, map_dims=32),
    checkpoint="work_dirs/tokenadapt_d384_1xb128-1e_in1k-vqgan-256px/epoch_1.pth",
)
augments = [
    dict(_base_.token_eda, synonyms="data/imagenet100-vqgan-tokens/synonyms.json"),
    dict(_base_.crop_or_token_adapt, second=[adapted]),
    _base_.colour_change,
    _base_.cutmix_of_the_others,
]
