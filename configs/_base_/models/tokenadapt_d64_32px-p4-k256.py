"""TokenAdapt for 8 x 8 codes of k-means on 4 x 4-pixel RGB patches, K = 256, with flips; leaves name the codebook."""

_base_ = "./tokenadapt_d64_28px-p4-k256.py"

crop = dict(_base_.crop, size=16)  # 8 x 8 tokens of 2 x 2 positions
model = dict(
    token_adapt=dict(code_dim=48, grid=8, out_grid=8),
    tokenizer=dict(image_size=32, in_channels=3),
    augments=[_base_.flip, dict(_base_.affine, part_prob=0.5, prob=0.5), crop, dict(_base_.mixup, prob=0.5)],
    eval_augments=dict(flip=[dict(_base_.flip, prob=1.0)], affine=[_base_.affine], rrc=[crop], mixup=[_base_.mixup]),
)
