"""SeiT++'s pipeline for MNIST's 7 x 7 codes: the digits' one at their size."""

_base_ = "./digits_seitpp.py"

augments = _base_.augments
adapted = augments[0].second[0]
adapted.token_adapt.update(codebook_size=256, code_dim=16, grid=7, out_grid=7)
adapted.augments[1]["size"] = 14
adapted.checkpoint = "work_dirs/tokenadapt_d64_1xb64-15e_mnist5k-28px/epoch_15.pth"
