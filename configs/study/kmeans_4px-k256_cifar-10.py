"""K-means on 4 x 4 pixel patches of RGB images of 32 x 32 pixels, fitted to what it tokenises: 8 x 8 codes of 256.

    python tools/tokenize_images.py configs/study/kmeans_4px-k256_cifar-10.py data/study-cifar-10 \
        data/study-cifar-10-tokens --split train val test

K as for Fashion-MNIST, a byte per code. Decoded, 1,000 held-out images have 22.3 dB of PSNR; with K = 64 they have 21.0
and with K = 1,024 23.3 (fitted on 1,000 images). A part of docs/study.md.
"""

_base_ = "./kmeans_4px-k256_fashion-mnist.py"

tokenizer = dict(image_size=32, in_channels=3)
