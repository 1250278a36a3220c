"""Parts of the pipelines in this folder, for ViT-VQGAN's tokens: 32 x 32 codes of 391, crops of 28 x 28.

"Paper" is SeiT++, Sec. 3.3, 4 and C; "release" is the authors' code, from which the published numbers came.
"""

# Trained by configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px.py, or the authors', converted.
token_adapt_augment = dict(
    type="seitpp.TokenAdaptAugment",
    token_adapt=dict(type="seitpp.TokenAdapt", out_grid=28),
    checkpoint="work_dirs/tokenadapt_d384_1xb128-1e_in1k-256px/epoch_1.pth",
)
# Paper: flip and affine transformations, no strengths. Release: one draw per batch (crops have one per sample); the
# affine parts come one after another, each interpolated by itself, each with probability 0.5, in half of the batches;
# both shears are along x and to one side, from 0 to 15 degrees.
flip = dict(type="seitpp.BatchRandomFlip", prob=0.5, per_sample=False)
flip_and_affine = [
    flip,
    dict(
        type="seitpp.RandomApply",
        prob=0.5,
        transforms=[
            dict(
                type="seitpp.RandomApply",
                prob=0.5,
                transforms=dict(type="seitpp.BatchRandomAffine", per_sample=False, **part),
            )
            for part in (
                dict(degrees=30),
                dict(translate=(0.2, 0.0)),
                dict(translate=(0.0, 0.2)),
                dict(shear=(0.0, 15.0)),
                dict(shear=(0.0, 15.0)),
            )
        ],
    ),
]
# Paper: DeiT's hyper-parameters, which are Mixup 0.8, CutMix 1.0, and either with probability 0.5. Release: timm's
# "batch" mode, one share and one box for all samples.
mixup_or_cutmix = dict(
    type="seitpp.OneOf",
    transforms=[
        dict(type="seitpp.BatchMixup", alpha=0.8, per_sample=False),
        dict(type="seitpp.BatchCutMix", alpha=1.0, per_sample=False),
    ],
    probs=[0.5, 0.5],
)
# How classifiers augment the samples that go through TokenAdapt, whose map has 2 x 2 positions per token.
crop_of_map = dict(type="seitpp.BatchRandomResizedCrop", size=56, scale=(0.08, 1.0))
adapted = dict(augments=[*flip_and_affine, crop_of_map, mixup_or_cutmix], **token_adapt_augment)
token_rrc = dict(type="seitpp.TokenRRC", size=28, scale=(0.08, 1.0))
token_cutmix = dict(type="seitpp.TokenCutMix", alpha=1.0, per_sample=False)
# Per sample one of: synonyms (0.25), a swap (0.25), nothing (0.5). The paper names no rates; these are the release's.
token_eda = dict(
    type="seitpp.TokenEDA",
    synonyms="data/imagenet1k-tokens/synonyms.json",
    synonym_prob=0.25,
    token_prob=0.25,
    num_synonyms=5,
    swap_prob=0.25,
    max_swap=0.25,
)
# SeiT's colour change, on half of the samples of every batch.
emb_noise = dict(type="seitpp.EmbNoise", std=1.0, channel_std=1.0, prob=0.5)
color_adapt = dict(type="seitpp.ColorAdapt", prob=0.5)
# SeiT++'s colour change from scratch. Paper: Emb-Noise and ColorAdapt, no rates. Release: per batch one of Emb-Noise
# (0.5), ColorAdapt (0.25) and nothing (0.25), on half of its samples: 25 % get noise, 12.5 % new colours, none both.
colour_change = dict(type="seitpp.OneOf", transforms=[emb_noise, color_adapt], probs=[0.5, 0.25])
# The same in fine-tuning from MTM (release): Emb-Noise (0.75) or ColorAdapt (0.25), on half of the samples.
finetune_colour_change = dict(type="seitpp.OneOf", transforms=[emb_noise, color_adapt], probs=[0.75, 0.25])
