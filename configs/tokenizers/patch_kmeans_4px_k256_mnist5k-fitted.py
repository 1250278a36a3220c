"""The same with the codes that were fitted to the training images, for the others: as if their store were named instead.

python tools/tokenize_images.py configs/tokenizers/patch_kmeans_4px_k256_mnist5k-fitted.py data/mnist5k data/mnist5k-tokens/val --split val
"""  # noqa: E501

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.PatchKMeans", image_size=28, patch_size=4, in_channels=1, codebook="data/mnist5k-tokens/train"
)
