"""What the pipelines of this folder are made of, for ViT-VQGAN's tokens: 32 x 32 codes of 391, crops of 28 x 28."""

# Trained by configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px.py, or the authors', converted.
token_adapt_augment = dict(
    type="seitpp.TokenAdaptAugment",
    token_adapt=dict(type="seitpp.TokenAdapt", codebook_size=391, code_dim=32, grid=32, out_grid=28),
    checkpoint="work_dirs/tokenadapt_d384_1xb128-1e_in1k-256px/epoch_1.pth",
)
flip_and_affine = [
    dict(type="seitpp.BatchRandomFlip", prob=0.5),
    dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15, part_prob=0.5, prob=0.5),
]
mixup_or_cutmix = dict(
    type="seitpp.OneOf",
    transforms=[dict(type="seitpp.BatchMixup", alpha=0.8), dict(type="seitpp.BatchCutMix", alpha=1.0)],
    probs=[0.5, 0.5],
)
token_eda = dict(
    type="seitpp.TokenEDA",
    synonyms="data/imagenet1k-tokens/synonyms.json",
    synonym_prob=0.25,
    token_prob=0.25,
    num_synonyms=5,
    swap_prob=0.25,
    max_swap=0.25,
)
emb_noise = dict(type="seitpp.EmbNoise", std=1.0, channel_std=1.0, prob=0.5)
# One of the two a batch, on half of its samples.
colour_change = dict(
    type="seitpp.OneOf",
    transforms=[
        dict(type="seitpp.EmbNoise", std=1.0, channel_std=1.0, prob=0.5),
        dict(type="seitpp.ColorAdapt", prob=0.5),
    ],
    probs=[0.75, 0.25],
)
