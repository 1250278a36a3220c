"""SeiT with flips of the tokens' embeddings, ViT-B, ImageNet-1k tokens (SeiT++, Fig. 3b).

    bash tools/dist_train.sh configs/seit/seit_vit-base-p16_flip_8xb128-300e_in1k-tokens.py 8 --amp

Expect: not run here. The paper shows a bar, no number in its text.

Paper (Sec. 3.3, Fig. 3): top-1 "according to the augmentations applied during training", on the embeddings directly;
the caption names flip and crop, the text Mixup, and that they "can cause a performance drop". The paper gives neither
the recipe around them nor strengths, nor does it say whether the bars add up; the release has nothing of it. Our
reading: the drop is from SeiT (74.0 %), and each bar changes one augmentation of its recipe, drawn as TokenAdapt's are.
Crops of embeddings are SeiT's own Token-RRC, so the config for them leaves it out,
..._no-crop_8xb128-300e_in1k-tokens.py.
"""

_base_ = "seit_vit-base-p16_8xb128-300e_in1k-tokens.py"

data_preprocessor = dict(
    augments=[_base_.token_eda, _base_.token_rrc, _base_.flip, _base_.emb_noise, _base_.token_cutmix]
)
