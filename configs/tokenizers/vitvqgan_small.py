"""ViT-VQGAN, small: 32 x 32 codes of 8,192 for 256 x 256 pixels, 32 values per code, pixels in [0, 1].

Weights: thuanz123/vitvqgan-imagenet-small on the Hugging Face hub, trained on ImageNet-1k. Licence: MIT.

python tools/convert_checkpoint.py vitvqgan_small imagenet_vitvq_small.ckpt checkpoints/vitvqgan_small.pth
python tools/tokenize_images.py configs/tokenizers/vitvqgan_small.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.ViTVQGAN", arch="small", checkpoint="checkpoints/vitvqgan_small.pth", resize="enhancing-transformers"
)
