"""SeiT from scratch with binary cross-entropy on the soft targets in place of smoothed cross-entropy.

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_bce_8xb128-300e_in1k-tokens.py 8 --amp

Expect: not run here; an option that the paper does not report.
"""

_base_ = "seit_vit-base-p16_8xb128-300e_in1k-tokens.py"

model = dict(head=dict(loss=dict(_delete_=True, type="CrossEntropyLoss", use_sigmoid=True)))
