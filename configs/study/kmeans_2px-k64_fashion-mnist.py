"""The finer grid: k-means on 2 x 2 pixel patches, 14 x 14 codes of 64; every config here takes it by `--store`.

    python tools/tokenize_images.py configs/study/kmeans_2px-k64_fashion-mnist.py data/study data/study-tokens-2px \
        --split train val test

A part of docs/study.md.
"""

_base_ = "./kmeans_4px-k256_fashion-mnist.py"

tokenizer = dict(patch_size=2, fit=dict(codebook_size=64))
