"""Classifier fine-tuned from MTM on digits, the quickstart's second training run.

    python tools/train.py configs/seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py

Expect: see README.md, whose table tools/quickstart.sh prints.
"""

_base_ = "seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py"

model = dict(
    backbone=dict(
        init_cfg=dict(type="Pretrained", checkpoint="work_dirs/quickstart/mtm/epoch_100.pth", prefix="backbone.")
    )
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
