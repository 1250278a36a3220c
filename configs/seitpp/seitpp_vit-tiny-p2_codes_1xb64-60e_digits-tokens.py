"""What MTM is compared with on digits: the network and pipeline of its fine-tuning, from scratch.

    python tools/train.py configs/seitpp/seitpp_vit-tiny-p2_codes_1xb64-60e_digits-tokens.py

Expect: see docs/results.md.
"""

_base_ = "seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py"

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
