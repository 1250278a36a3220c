"""JPEG's coefficients at quality 90, all 64 frequencies of Y, Cb and Cr: 32 x 32 blocks of 192 integers.

python tools/tokenize_images.py configs/tokenizers/block_dct_q90_full.py SOURCE OUT_STORE
"""

_base_ = ["block_dct_q50.py"]
tokenizer = dict(quality=90, luma_coefficients=64, chroma_coefficients=64)
