"""Short name of mtm_vit-base-p16_8xb512-400e_in1k-tokens.py."""

_base_ = "../mtm/mtm_vit-base-p16_8xb512-400e_in1k-tokens.py"
