"""Parts of the quickstart's pipelines: weaker than the recipes', since 4 x 4 codes have little to crop.

Each change is rarer or weaker (ours), since few steps and codes leave little room for it. Geometry has one draw per
sample, in one affine map, since batches are small.
"""

token_adapt_augment = dict(
    type="seitpp.TokenAdaptAugment",
    token_adapt=dict(
        type="seitpp.TokenAdapt",
        out_grid=4,
        dims=64,
        num_heads=4,
        head_dims=16,
        mlp_dims=256,
    ),
    checkpoint="work_dirs/quickstart/tokenadapt/epoch_40.pth",
)
# Geometry alone, for MTM, which would have to predict what is mixed.
affine = dict(type="seitpp.BatchRandomAffine", degrees=15, translate=0.1, shear=10, part_prob=0.5, prob=0.5)
crop_of_map = dict(type="seitpp.BatchRandomResizedCrop", size=8, scale=(0.6, 1.0))
geometry = [affine, crop_of_map]
rare_mixing = dict(
    type="seitpp.OneOf",
    transforms=[
        dict(type="seitpp.BatchMixup", alpha=0.8, per_sample=False),
        dict(type="seitpp.BatchCutMix", alpha=1.0, per_sample=False),
    ],
    probs=[0.1, 0.1],
)
adapted = dict(augments=[*geometry, rare_mixing], **token_adapt_augment)
token_rrc = dict(type="seitpp.TokenRRC", size=4, scale=(0.6, 1.0))
rare_cutmix = dict(
    type="seitpp.RandomApply",
    transforms=dict(type="seitpp.TokenCutMix", alpha=1.0, per_sample=False),
    prob=0.2,
)
emb_noise = dict(type="seitpp.EmbNoise", std=0.05, channel_std=0.05, prob=0.15)  # codes are pixels in [0, 1] here
colour_change = dict(
    type="seitpp.OneOf",
    transforms=[dict(emb_noise, prob=0.5), dict(type="seitpp.ColorAdapt", prob=0.5)],
    probs=[0.3, 0.1],
)
