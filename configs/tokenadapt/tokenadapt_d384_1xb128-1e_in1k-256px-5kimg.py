"""TokenAdapt trained on 5,000 images of ImageNet-1k, as many iterations as on all (SeiT++, Table A).

    python tools/train.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px-5kimg.py --amp

Expect: not run here. The paper: 75.4 % top-1 of the classifier that uses it.
"""

_base_ = "tokenadapt_d384_1xb128-1e_in1k-256px.py"

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="seitpp.SubsetDataset",
        dataset=_base_.train_dataloader.dataset,
        count=5000,
        keep_length=True,
    )
)
