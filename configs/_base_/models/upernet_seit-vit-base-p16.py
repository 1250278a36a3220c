"""UPerNet on SeiT's ViT-B: codebook embeddings through the Stem-Adapter."""

_base_ = "./upernet_token-vit-base-p16.py"

model = dict(backbone=dict(codebook_size=None, patch_cfg=dict(kernel_size=4, stride=2, padding=1)))
