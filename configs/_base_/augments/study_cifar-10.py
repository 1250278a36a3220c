"""The study's pipelines for CIFAR-10's 8 x 8 codes, by name: Fashion-MNIST's at their size, with flips.

As in the paper, only TokenAdapt flips: a code that is moved still shows its patch the other way round.
"""

_base_ = "./digits_seitpp.py"

token_adapt_augment = dict(
    _base_.token_adapt_augment,
    token_adapt=dict(_base_.token_adapt_augment.token_adapt, out_grid=8),
    checkpoint="work_dirs/tokenadapt_d64_1xb64-3k_cifar-10-32px/iter_3000.pth",
)
geometry = [dict(type="seitpp.BatchRandomFlip", prob=0.5), _base_.affine, dict(_base_.crop_of_map, size=16)]
moved = dict(augments=geometry, **token_adapt_augment)
adapted = dict(augments=[*geometry, _base_.rare_mixing], **token_adapt_augment)
half_adapted = dict(_base_.half_adapted, second=[adapted])
token_rrc = dict(_base_.token_rrc, size=8)
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
