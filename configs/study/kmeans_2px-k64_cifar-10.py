"""The finer grid: k-means on 2 x 2 pixel patches, 16 x 16 codes of 64; every config here takes it by `--store`.

    python tools/tokenize_images.py configs/study/kmeans_2px-k64_cifar-10.py data/study-cifar-10 \
        data/study-cifar-10-tokens-2px --split train val test

A part of docs/study.md.
"""

_base_ = "./kmeans_4px-k256_cifar-10.py"

tokenizer = dict(patch_size=2, fit=dict(codebook_size=64))
