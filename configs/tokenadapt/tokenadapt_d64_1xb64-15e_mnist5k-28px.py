"""TokenAdapt for MNIST's tokens: 7 x 7 codes of 4 x 4-pixel patches, K = 256.

    python tools/train.py configs/tokenadapt/tokenadapt_d64_1xb64-15e_mnist5k-28px.py

Expect: see docs/results.md.
"""

_base_ = [
    "../_base_/models/tokenadapt_d64_28px-p4-k256.py",
    "../_base_/datasets/mnist5k_images.py",
    "../_base_/schedules/tokenadapt_adamw_1xb128-1e.py",
    "../_base_/default_runtime.py",
]

model = dict(tokenizer=dict(codebook="data/mnist5k-tokens/train"))
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")

max_epochs = 15
optim_wrapper = dict(optimizer=dict(lr=3e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=1, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=15)
default_hooks = dict(checkpoint=dict(interval=15, max_keep_ckpts=1))
