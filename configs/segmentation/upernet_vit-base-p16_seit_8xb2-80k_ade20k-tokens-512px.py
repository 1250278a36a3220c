"""UPerNet on ADE20k's tokens from SeiT's ImageNet-1k classifier (SeiT++, Table 4, SeiT).

    bash tools/dist_train.sh configs/segmentation/upernet_vit-base-p16_seit_8xb2-80k_ade20k-tokens-512px.py 8 --amp

Expect: not run here. The paper: 39.0 mIoU. It does not tell the size of the label maps.
No augmentation: the paper uses geometric ones through TokenAdapt only, which SeiT lacks.
"""

_base_ = [
    "../_base_/models/upernet_seit-vit-base-p16.py",
    "../_base_/datasets/ade20k_tokens-512px.py",
    "../_base_/schedules/seg_adamw_8xb2-80k.py",
    "../_base_/iter_runtime.py",
]

encoder = dict(
    type="Pretrained",
    checkpoint="work_dirs/seit_vit-base-p16_8xb128-300e_in1k-tokens/epoch_300.pth",
    prefix="backbone.",
)
model = dict(backbone=dict(init_cfg=encoder))
data_preprocessor = dict(output="embeddings")
