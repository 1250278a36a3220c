"""VQGAN f16, 16,384 codes: 16 x 16 codes for 256 x 256 pixels, 256 values per code, pixels in [-1, 1].

Weights: vqgan_imagenet_f16_16384 of CompVis/taming-transformers, trained on ImageNet-1k. Licence: MIT.

python tools/convert_checkpoint.py vqgan_f16_16384 last.ckpt checkpoints/vqgan_f16_16384.pth
python tools/tokenize_images.py configs/tokenizers/vqgan_f16_16384.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.VQGAN", arch="vqgan_f16_16384", checkpoint="checkpoints/vqgan_f16_16384.pth", resize="taming"
)
