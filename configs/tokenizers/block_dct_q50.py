"""JPEG's coefficients at quality 50, no network: 32 x 32 blocks of 33 integers for 256 x 256 pixels.

The 21 lowest frequencies of Y and the 6 lowest of Cb and Cr. Nothing to download.

python tools/tokenize_images.py configs/tokenizers/block_dct_q50.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(type="seitpp.BlockDCT", quality=50, luma_coefficients=21, chroma_coefficients=6)
