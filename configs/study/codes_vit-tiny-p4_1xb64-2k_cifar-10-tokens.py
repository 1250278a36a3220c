"""What MTM is compared with: the network and pipeline of SeiT++'s fine-tuning, from scratch.

    python tools/train.py configs/study/codes_vit-tiny-p4_1xb64-2k_cifar-10-tokens.py

Expect: see docs/study.md.
"""

_base_ = "./seitpp_vit-tiny-p4_mtm-4k-pre_1xb64-2k_cifar-10-tokens.py"

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
