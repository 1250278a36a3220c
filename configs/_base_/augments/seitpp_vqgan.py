"""SeiT++'s pipeline for the OpenImages VQGAN's codes, K = 16,384, 4 values per code."""

_base_ = "./seitpp.py"

augments = _base_.augments
augments[0].synonyms = "data/imagenet100-vqgan-tokens/synonyms.json"
augments[1].second[0].token_adapt.update(codebook_size=16384, code_dim=4, map_dims=32)
augments[1].second[0].checkpoint = "work_dirs/tokenadapt_d384_1xb128-1e_in1k-vqgan-256px/epoch_1.pth"
