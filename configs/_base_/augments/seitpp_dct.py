"""SeiT++'s pipeline for DCT coefficients; TokenAdapt regresses them."""

_base_ = "./seitpp.py"

augments = _base_.augments
augments[0].first = augments[0].first[1:]  # Token-EDA is for codes
augments[0].second[0].token_adapt.update(codebook_size=None, code_dim=33)
augments[0].second[0].checkpoint = "work_dirs/tokenadapt_d384_1xb128-1e_in1k-dct-256px/epoch_1.pth"
augments[1].relative = True
