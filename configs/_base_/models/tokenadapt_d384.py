"""TokenAdapt for ViT-VQGAN's tokens (SeiT++, Sec. 3.3, 4.7): 32 x 32 codes to 28 x 28, one block of 384 each way."""

flip = dict(type="seitpp.BatchRandomFlip", prob=0.5)
affine = dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15)
crop = dict(type="seitpp.BatchRandomResizedCrop", size=56, scale=(0.08, 1.0))  # 28 x 28 tokens of 2 x 2 positions
centre_crop = dict(type="seitpp.BatchCenterCrop", size=56)
mixup = dict(type="seitpp.BatchMixup", alpha=0.8)

model = dict(
    type="seitpp.TokenAdaptPretrain",
    token_adapt=dict(
        type="seitpp.TokenAdapt",
        codebook_size=391,
        code_dim=32,
        grid=32,
        out_grid=28,
        dims=384,
        depth=1,
        num_heads=6,
        mlp_dims=1536,
    ),
    tokenizer=dict(type="seitpp.ViTVQGAN", arch="seit", checkpoint="checkpoints/seit_vitvqgan.pth"),
    # Paper (Sec. 3.3): geometric augmentations and Mixup, no strengths. Ours: the strengths of its use, one draw per
    # sample in one affine map, shears along x a little beyond the sum of the two in use (28 degrees), and along y too.
    augments=[
        flip,
        dict(affine, shear=(-30.0, 30.0, -15.0, 15.0), part_prob=0.5, prob=0.5),
        crop,
        dict(mixup, prob=0.5),
    ],
    eval_augments=dict(
        flip=[dict(flip, prob=1.0), centre_crop],
        affine=[affine, centre_crop],
        rrc=[crop],
        mixup=[mixup, centre_crop],
    ),
)
