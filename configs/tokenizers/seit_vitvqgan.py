"""SeiT's tokenizer: a ViT-VQGAN that keeps 391 of 8,192 codes; 32 x 32 codes, pixels in [0, 1].

Weights: tokenizer.ckpt, a pickled module, and codebook.ckpt of naver-ai/seit, release v0.0. Licence: the repository
is CC BY-NC 4.0, its SeiT readme says Apache-2.0; ask before you pass anything on. The size of its networks is not
published: `seit` is the base model with 391 codes, and the converter names the shapes it finds if that is wrong.

python tools/convert_checkpoint.py seit_vitvqgan tokenizer.ckpt checkpoints/seit_vitvqgan.pth --codebook codebook.ckpt
python tools/tokenize_images.py configs/tokenizers/seit_vitvqgan.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(type="seitpp.ViTVQGAN", arch="seit", checkpoint="checkpoints/seit_vitvqgan.pth")
