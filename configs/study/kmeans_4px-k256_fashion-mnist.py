"""K-means on 4 x 4 pixel patches of grey images of 28 x 28 pixels, fitted to what it tokenises: 7 x 7 codes of 256.

    python tools/tokenize_images.py configs/study/kmeans_4px-k256_fashion-mnist.py data/study data/study-tokens \
        --split train val test

A part of docs/study.md.
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.PatchKMeans",
    image_size=28,
    patch_size=4,
    in_channels=1,
    fit=dict(codebook_size=256, num_images=2000, seed=0),
)
