"""JPEG's coefficients at quality 50 in place of codes: 4 x 4 blocks, 12 coefficients of grey and 3 of each colour.

    python tools/tokenize_images.py configs/study/dct_q50_cifar-10.py data/study-cifar-10 data/study-cifar-10-dct \
        --split train val test

A part of docs/study.md.
"""

_base_ = "./dct_q50_fashion-mnist.py"

tokenizer = dict(chroma_coefficients=3, in_channels=3)
