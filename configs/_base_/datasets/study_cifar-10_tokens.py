"""CIFAR-10 as 8 x 8 codes of a k-means tokenizer, K = 256; configs/study/README.md makes the stores."""

_base_ = "./study_fashion-mnist_tokens.py"

data_root = "data/study-cifar-10-tokens/"
grid_size, code_dim = 8, 48

data_preprocessor = dict(codebook=data_root + "train")
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
