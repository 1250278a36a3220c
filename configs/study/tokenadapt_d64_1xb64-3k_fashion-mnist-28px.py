"""TokenAdapt for Fashion-MNIST's tokens: 7 x 7 codes of 4 x 4-pixel patches, K = 256.

    python tools/train.py configs/study/tokenadapt_d64_1xb64-3k_fashion-mnist-28px.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/tokenadapt_d64_28px-p4-k256.py",
    "../_base_/datasets/study_images.py",
    "../_base_/schedules/tokenadapt_adamw_1xb128-1e.py",
    "../_base_/study_runtime.py",
]

model = dict(tokenizer=dict(codebook="data/study-tokens/train"))
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")

max_epochs = None
max_iters = 3000
optim_wrapper = dict(optimizer=dict(lr=3e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=150, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
