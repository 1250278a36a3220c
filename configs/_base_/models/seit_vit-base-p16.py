"""SeiT's classifier: ViT-B on codebook embeddings through the Stem-Adapter, a convolution of 4 x 4 tokens, stride 2."""

_base_ = "./mtm-classifier_vit-base-p16.py"

model = dict(
    backbone=dict(codebook_size=None, patch_cfg=dict(kernel_size=4, stride=2, padding=1)),
    head=dict(init_cfg=[dict(type="TruncNormal", layer="Linear", std=0.02)]),
)
