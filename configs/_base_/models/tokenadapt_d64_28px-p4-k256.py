"""TokenAdapt for 7 x 7 codes of k-means on 4 x 4-pixel grey patches, K = 256; leaves name the codebook."""

_base_ = "./tokenadapt_d384.py"

affine = dict(type="seitpp.BatchRandomAffine", degrees=15, translate=0.1, shear=10)
crop = dict(type="seitpp.BatchRandomResizedCrop", size=14, scale=(0.6, 1.0))  # 7 x 7 tokens of 2 x 2 positions
model = dict(
    token_adapt=dict(
        codebook_size=256, code_dim=16, grid=7, out_grid=7, dims=64, num_heads=4, head_dims=16, mlp_dims=256
    ),
    tokenizer=dict(
        _delete_=True,
        type="seitpp.PatchKMeans",
        image_size=28,
        patch_size=4,
        in_channels=1,
    ),
    augments=[dict(affine, part_prob=0.5, prob=0.5), crop, dict(_base_.mixup, prob=0.5)],
    eval_augments=dict(_delete_=True, affine=[affine], rrc=[crop], mixup=[_base_.mixup]),
)
