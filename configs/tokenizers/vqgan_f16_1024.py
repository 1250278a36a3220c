"""VQGAN f16, 1,024 codes: 16 x 16 codes for 256 x 256 pixels, 256 values per code, pixels in [-1, 1].

Weights: vqgan_imagenet_f16_1024 of CompVis/taming-transformers, trained on ImageNet-1k. Licence: MIT.

python tools/convert_checkpoint.py vqgan_f16_1024 last.ckpt checkpoints/vqgan_f16_1024.pth
python tools/tokenize_images.py configs/tokenizers/vqgan_f16_1024.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.VQGAN", arch="vqgan_f16_1024", checkpoint="checkpoints/vqgan_f16_1024.pth", resize="taming"
)
