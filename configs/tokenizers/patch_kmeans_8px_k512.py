"""K-means on 8 x 8 pixel patches, fitted to a sample of the images that it then tokenises: no weights, no network.

A baseline, and a way to try everything else; a learned tokenizer keeps more. 32 x 32 codes per image.

python tools/tokenize_images.py configs/tokenizers/patch_kmeans_8px_k512.py SOURCE OUT_STORE
"""

default_scope = "seitpp"
tokenizer = dict(
    type="seitpp.PatchKMeans",
    image_size=256,
    patch_size=8,
    fit=dict(codebook_size=512, num_images=1000, seed=0),
)
