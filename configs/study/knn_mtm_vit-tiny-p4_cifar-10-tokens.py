"""Nearest neighbours in the features of MTM's encoder.

    python tools/test.py configs/study/knn_mtm_vit-tiny-p4_cifar-10-tokens.py \
        work_dirs/mtm_vit-tiny-p4_1xb64-4k_cifar-10-tokens/iter_4000.pth

Expect: see docs/study.md.
"""

_base_ = "./knn_mtm_vit-tiny-p4_fashion-mnist-tokens.py"

data_root = "data/study-cifar-10-tokens/"
model = dict(backbone=dict(grid_size=8))
data_preprocessor = dict(codebook=data_root + "train")
default_hooks = dict(bank=dict(dataset=dict(data_root=data_root)))
test_dataloader = dict(dataset=dict(data_root=data_root))
