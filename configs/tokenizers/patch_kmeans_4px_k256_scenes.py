"""K-means on 4 x 4 pixel patches of colour images of 64 x 64 pixels, fitted to what it tokenises: 16 x 16 codes of 256.

python tools/dataset_converters/scenes.py data/scenes
python tools/tokenize_images.py configs/tokenizers/patch_kmeans_4px_k256_scenes.py data/scenes data/scenes-tokens --split train val --classes data/scenes/classes.txt
"""  # noqa: E501

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.PatchKMeans",
    image_size=64,
    patch_size=4,
    fit=dict(codebook_size=256, num_images=600, seed=0),
)
