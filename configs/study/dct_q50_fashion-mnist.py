"""JPEG's coefficients at quality 50 in place of codes: 4 x 4 blocks, 12 grey coefficients, images scaled to 32 pixels.

    python tools/tokenize_images.py configs/study/dct_q50_fashion-mnist.py data/study data/study-dct \
        --split train val test

A part of docs/study.md.
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.BlockDCT", image_size=32, quality=50, luma_coefficients=12, chroma_coefficients=0, in_channels=1
)
