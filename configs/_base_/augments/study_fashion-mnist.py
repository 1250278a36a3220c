"""The study's pipelines for Fashion-MNIST's 7 x 7 codes, by name: the digits' ones at their size."""

_base_ = "./digits_seitpp.py"

token_adapt_augment = dict(
    _base_.token_adapt_augment,
    token_adapt=dict(_base_.token_adapt_augment.token_adapt, out_grid=7),
    checkpoint="work_dirs/tokenadapt_d64_1xb64-3k_fashion-mnist-28px/iter_3000.pth",
)
geometry = [_base_.affine, dict(_base_.crop_of_map, size=14)]
moved = dict(augments=geometry, **token_adapt_augment)
adapted = dict(augments=[*geometry, _base_.rare_mixing], **token_adapt_augment)
half_adapted = dict(_base_.half_adapted, second=[adapted])
token_rrc = dict(_base_.token_rrc, size=7)
pipelines = dict(
    seit=[token_rrc, _base_.emb_noise, _base_.rare_cutmix],
    seitpp=[half_adapted, _base_.colour_change, _base_.cutmix_of_the_others],
    coloradapt=[token_rrc, _base_.colour_change, _base_.rare_cutmix],
    tokenadapt=[half_adapted, _base_.emb_noise, _base_.cutmix_of_the_others],
    mtm_seit=[token_rrc],
    mtm_seitpp=[dict(type="seitpp.SplitBatch", share=0.5, first=[], second=[moved])],
    finetune=[
        _base_.colour_change,
        dict(type="seitpp.SplitBatch", share=0.5, first=[_base_.rare_cutmix], second=[adapted]),
    ],
)
