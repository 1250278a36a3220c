"""TokenAdapt for ViT-VQGAN's tokens (SeiT++, Sec. 3.3, 4.7): 32 x 32 codes to 28 x 28, one block of 384 each way."""

places = 56  # rows and columns of the map that a crop leaves: two per token of 28 x 28

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
    # Paper (Sec. 3.3): geometric augmentations and Mixup, no strengths. Ours: those of its use with one draw per sample
    # in one affine map; shears along x a little beyond what two of its use add up to (28 degrees), and along y as well.
    augments=[
        dict(type="seitpp.BatchRandomFlip", prob=0.5),
        dict(
            type="seitpp.BatchRandomAffine",
            degrees=30,
            translate=0.2,
            shear=(-30.0, 30.0, -15.0, 15.0),
            part_prob=0.5,
            prob=0.5,
        ),
        dict(type="seitpp.BatchRandomResizedCrop", size=places, scale=(0.08, 1.0)),
        dict(type="seitpp.BatchMixup", alpha=0.8, prob=0.5),
    ],
    eval_augments=dict(
        flip=[
            dict(type="seitpp.BatchRandomFlip", prob=1.0),
            dict(type="seitpp.BatchCenterCrop", size=places),
        ],
        affine=[
            dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15),
            dict(type="seitpp.BatchCenterCrop", size=places),
        ],
        rrc=[dict(type="seitpp.BatchRandomResizedCrop", size=places, scale=(0.08, 1.0))],
        mixup=[
            dict(type="seitpp.BatchMixup", alpha=0.8),
            dict(type="seitpp.BatchCenterCrop", size=places),
        ],
    ),
)
