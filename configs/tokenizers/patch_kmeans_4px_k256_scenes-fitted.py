"""The same with the codes that were fitted to the training scenes, for the others: as if their store were named instead.

python tools/tokenize_images.py configs/tokenizers/patch_kmeans_4px_k256_scenes-fitted.py data/scenes data/scenes-tokens/val --split val --classes data/scenes/classes.txt
"""  # noqa: E501

default_scope = "seitpp"
tokenizer = dict(type="seitpp.PatchKMeans", image_size=64, patch_size=4, codebook="data/scenes-tokens/train")
