"""SeiT++ without MTM with a TokenAdapt trained on 5,000 images (SeiT++, Table A).

    bash tools/dist_train.sh configs/seitpp/seitpp_vit-base-p16_tokenadapt-5kimg_8xb128-300e_in1k-tokens.py 8 --amp

Expect: not run here. The paper: 75.4 % top-1.
"""

_base_ = "seitpp_vit-base-p16_8xb128-300e_in1k-tokens.py"

augments = _base_.data_preprocessor.augments
augments[1].second[0].checkpoint = "work_dirs/tokenadapt_d384_1xb128-1e_in1k-256px-5kimg/epoch_1.pth"
data_preprocessor = dict(augments=augments)
