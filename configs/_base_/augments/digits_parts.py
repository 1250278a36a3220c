"""The quickstart's pipelines are the paper's, weaker: digits of 4 x 4 codes have little to crop and no flip."""

token_adapt_augment = dict(
    type="seitpp.TokenAdaptAugment",
    token_adapt=dict(
        type="seitpp.TokenAdapt",
        codebook_size=64,
        code_dim=4,
        grid=4,
        out_grid=4,
        dims=64,
        num_heads=4,
        head_dims=16,
        mlp_dims=256,
    ),
    checkpoint="work_dirs/quickstart/tokenadapt/epoch_40.pth",
)
geometry = [
    dict(type="seitpp.BatchRandomAffine", degrees=15, translate=0.1, shear=10, part_prob=0.5, prob=0.5),
    dict(type="seitpp.BatchRandomResizedCrop", size=8, scale=(0.6, 1.0)),
]
