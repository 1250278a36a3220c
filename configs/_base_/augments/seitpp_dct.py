"""SeiT++'s pipeline for DCT coefficients, as seit_dct.py; TokenAdapt regresses them (ours)."""

_base_ = "./seitpp.py"

_base_.crop_or_token_adapt.second[0].token_adapt.update(codebook_size=None, code_dim=33)
_base_.crop_or_token_adapt.second[0].checkpoint = "work_dirs/tokenadapt_d384_1xb128-1e_in1k-dct-256px/epoch_1.pth"
_base_.colour_change.transforms[0].relative = True
augments = [_base_.crop_or_token_adapt, _base_.colour_change, _base_.cutmix_of_the_others]
