"""The small ViT-VQGAN of your own pictures, as it comes out of its run: 8 x 8 codes for 32 x 32 pixels.

python tools/train.py configs/tokenizers/vitvqgan_tiny-p4-k256_1xb32-3k_images-32px.py
python tools/tokenize_images.py configs/tokenizers/vitvqgan_tiny-p4-k256_images-32px.py data/images OUT_STORE --split train val

Larger pictures in tiles, 16 x 16 codes: `--cfg-options tokenizer.image_size=64`.
"""  # noqa: E501

_base_ = ["../_base_/models/vitvqgan_tiny-p4-k256.py"]
default_scope = "seitpp"
tokenizer = dict(checkpoint="work_dirs/vitvqgan_tiny-p4-k256_1xb32-3k_images-32px/iter_3000.pth")
