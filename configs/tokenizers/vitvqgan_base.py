"""ViT-VQGAN, base: 32 x 32 codes of 8,192 for 256 x 256 pixels, 32 values per code, pixels in [0, 1].

Weights: thuanz123/vitvqgan-imagenet-base on the Hugging Face hub, trained on ImageNet-1k. Licence: MIT.

python tools/convert_checkpoint.py vitvqgan_base imagenet_vitvq_base.ckpt checkpoints/vitvqgan_base.pth
python tools/tokenize_images.py configs/tokenizers/vitvqgan_base.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.ViTVQGAN", arch="base", checkpoint="checkpoints/vitvqgan_base.pth", resize="enhancing-transformers"
)
