"""Fashion-MNIST as 7 x 7 codes of a k-means tokenizer, K = 256; configs/study/README.md makes the stores.

`val` is the part of the training images that is held out to choose settings; `test` is read at the end alone.
"""

_base_ = "./mnist5k_tokens.py"

data_root = "data/study-tokens/"
grid_size, code_dim = 7, 16

data_preprocessor = dict(codebook=data_root + "train")
train_dataloader = dict(dataset=dict(data_root=data_root), sampler=dict(type="mmengine.InfiniteSampler"))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root, store="test"))
