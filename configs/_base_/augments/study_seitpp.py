"""SeiT++'s pipeline for the study's 7 x 7 codes: MNIST's with the TokenAdapt of its tokenizer."""

_base_ = "./mnist5k_seitpp.py"

token_adapt_augment = dict(
    _base_.token_adapt_augment,
    checkpoint="work_dirs/tokenadapt_d64_1xb64-3k_fashion-mnist-28px/iter_3000.pth",
)
adapted = dict(augments=[*_base_.geometry, _base_.rare_mixing], **token_adapt_augment)
half_adapted = dict(_base_.half_adapted, second=[adapted])
augments = [half_adapted, _base_.colour_change, _base_.cutmix_of_the_others]
