"""TokenAdapt trained on 1,000 images of ImageNet-1k, as many iterations as on all (SeiT++, Table A).

    python tools/train.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px-1kimg.py --amp

Expect: not run here. The paper: 75.4 % top-1 of the classifier that uses it.
"""

_base_ = "tokenadapt_d384_1xb128-1e_in1k-256px-100img.py"

train_dataloader = dict(dataset=dict(count=1000))
