"""Handwritten digits on photographs as 16 x 16 codes of a k-means tokenizer, K = 256, with label maps of 64 x 64.

docs/segmentation.md makes them.
"""

_base_ = "./ade20k_tokens-512px.py"

data_root = "data/scenes-tokens/"
num_classes = 5

data_preprocessor = dict(codebook=data_root + "train", distance="euclidean")  # as k-means
loading = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(batch_size=8, dataset=dict(data_root=data_root, preset=None), **loading)
val_dataloader = dict(batch_size=32, dataset=dict(data_root=data_root, preset=None), **loading)
test_dataloader = val_dataloader
