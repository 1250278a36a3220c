"""SeiT with image augmentations of the decoded tokens, ViT-S, ImageNet-100 tokens (SeiT++, Table B, second row).

    bash tools/dist_train.sh configs/seit/seit_vit-small-p16_pixel-aug_8xb128-300e_in100-tokens.py 8 --amp

Expect: not run here. The paper: 80.1 % top-1.
Its training took 49.2 hours on four V100 there, 734 % more than SeiT's.
Needs the tokenizer with its decoder: configs/tokenizers/seit_vitvqgan.py.

Paper (A.4): tokens are decoded by ViT-VQGAN, pixels get flips, affine transformations, Mixup and CutMix "e.g.", and are
encoded again. It names neither strengths nor the share of the samples, and the release has nothing of it. Ours: Table
7's recipe of TokenAdapt with the tokenizer in its place, the same augmentations for the same half of the samples,
without ColorAdapt. The crop goes to the 256 x 256 pixels that the tokenizer was trained on, and the centre of its
32 x 32 codes to the network, as in validation.
"""

_base_ = "seit_vit-small-p16_tokenadapt_8xb128-300e_in100-tokens.py"

through_pixels = dict(
    type="seitpp.PixelAugment",
    tokenizer=dict(type="seitpp.ViTVQGAN", arch="seit", checkpoint="checkpoints/seit_vitvqgan.pth"),
    augments=[*_base_.flip_and_affine, dict(_base_.crop_of_map, size=256), _base_.mixup_or_cutmix],  # of pixels
)
centre_crop = dict(type="seitpp.BatchCenterCrop", size=28)
crop_or_pixels = dict(_base_.crop_or_token_adapt, second=[through_pixels, centre_crop])
data_preprocessor = dict(augments=[_base_.token_eda, crop_or_pixels, _base_.emb_noise, _base_.cutmix_of_the_others])
