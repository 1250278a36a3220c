"""SeiT++ in segmentation (C): geometric augmentations through TokenAdapt alone, labels with their tokens.

No mixing and no Token-RRC, which does not help there. The paper names no strengths: these are the classifier's, with a
crop that keeps at least a quarter of the image. `color_adapt` is no part of the paper's recipe.
TokenAdapt's weights fit any grid: those that were trained on 32 x 32 codes convert 64 x 64 here.
"""

_base_ = "./parts.py"

augments = [
    dict(
        type="seitpp.TokenAdaptAugment",
        token_adapt=dict(type="seitpp.TokenAdapt", codebook_size=391, code_dim=32, grid=64, out_grid=64),
        checkpoint=_base_.token_adapt_augment.checkpoint,
        augments=[
            *_base_.flip_and_affine,
            dict(type="seitpp.BatchRandomResizedCrop", size=128, scale=(0.25, 1.0)),  # two places a token
        ],
    ),
]
color_adapt = dict(type="seitpp.ColorAdapt", prob=0.25)
