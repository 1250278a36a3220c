"""Five thousand images of MNIST as 7 x 7 codes of a k-means tokenizer, K = 256; docs/results.md makes the stores."""

_base_ = "./digits_tokens.py"

data_root = "data/mnist5k-tokens/"
codebook_size = 256

data_preprocessor = dict(codebook=data_root + "train")
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
