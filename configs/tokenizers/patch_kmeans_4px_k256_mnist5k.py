"""K-means on 4 x 4 pixel patches of grey images of 28 x 28 pixels, fitted to what it tokenises: 7 x 7 codes of 256.

python tools/dataset_converters/mnist_5k.py data/mnist5k
python tools/tokenize_images.py configs/tokenizers/patch_kmeans_4px_k256_mnist5k.py data/mnist5k data/mnist5k-tokens --split train val
"""  # noqa: E501

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.PatchKMeans",
    image_size=28,
    patch_size=4,
    in_channels=1,
    fit=dict(codebook_size=256, num_images=2000, seed=0),
)
