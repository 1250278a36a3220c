"""TokenAdapt for Fashion-MNIST's tokens: 7 x 7 codes of 4 x 4-pixel patches, K = 256.

    python tools/train.py configs/study/tokenadapt_d64_1xb64-3k_fashion-mnist-28px.py

Expect: see docs/study.md.
"""

_base_ = [
    "../_base_/models/tokenadapt_d384.py",
    "../_base_/datasets/study_images.py",
    "../_base_/schedules/tokenadapt_adamw_1xb128-1e.py",
    "../_base_/study_runtime.py",
]

affine = dict(type="seitpp.BatchRandomAffine", degrees=15, translate=0.1, shear=10)
crop = dict(type="seitpp.BatchRandomResizedCrop", size=14, scale=(0.6, 1.0))  # 7 x 7 tokens of 2 x 2 positions
model = dict(
    token_adapt=dict(
        codebook_size=256, code_dim=16, grid=7, out_grid=7, dims=64, num_heads=4, head_dims=16, mlp_dims=256
    ),
    tokenizer=dict(
        _delete_=True,
        type="seitpp.PatchKMeans",
        image_size=28,
        patch_size=4,
        in_channels=1,
        codebook="data/study-tokens/train",
    ),
    augments=[dict(affine, part_prob=0.5, prob=0.5), crop, dict(_base_.mixup, prob=0.5)],
    eval_augments=dict(_delete_=True, affine=[affine], rrc=[crop], mixup=[_base_.mixup]),
)
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")

max_epochs = None
max_iters = 3000
optim_wrapper = dict(optimizer=dict(lr=3e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=150, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
