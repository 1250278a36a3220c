"""As upernet_vit-base-p16_mtm-400e-pre_8xb2-80k_ade20k-tokens-512px.py, with ColorAdapt.

    bash tools/dist_train.sh configs/segmentation/upernet_vit-base-p16_mtm-400e-pre_coloradapt_8xb2-80k_ade20k-tokens-512px.py 8 --amp

Expect: not run here, and not in the paper, which leaves colours alone in segmentation.
"""  # noqa: E501

_base_ = "./upernet_vit-base-p16_mtm-400e-pre_8xb2-80k_ade20k-tokens-512px.py"

data_preprocessor = dict(augments=[*_base_.augments, _base_.color_adapt])
