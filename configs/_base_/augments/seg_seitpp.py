"""SeiT++ in segmentation (C): geometric augmentations through TokenAdapt alone, labels with their tokens.

No mixing and no Token-RRC, which does not help there. The paper names no strengths and the release has no
segmentation: these are ours, near the classifier's, in one map per sample so that labels are resampled once, with a
crop that keeps at least a quarter of the image. `color_adapt` is not in the paper's recipe.
TokenAdapt's weights fit any grid: those trained on 32 x 32 codes convert 64 x 64 here.
"""

_base_ = "./parts.py"

augments = [
    dict(
        _base_.token_adapt_augment,
        token_adapt=dict(type="seitpp.TokenAdapt", out_grid=64),
        augments=[
            dict(type="seitpp.BatchRandomFlip", prob=0.5),
            dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15, part_prob=0.5, prob=0.5),
            dict(type="seitpp.BatchRandomResizedCrop", size=128, scale=(0.25, 1.0)),  # two per token
        ],
    ),
]
color_adapt = dict(type="seitpp.ColorAdapt", prob=0.25)
