"""TokenAdapt for the quickstart's tokenizer: 4 x 4 codes of 2 x 2-pixel patches, K = 64; its second step.

    python tools/train.py configs/tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py

Expect: see docs/results.md. Weak augmentations: a digit that is turned much may be another. It learns
the flip as well, which the quickstart does not use.
"""

_base_ = [
    "../_base_/models/tokenadapt_d384.py",
    "../_base_/datasets/digits_images.py",
    "../_base_/schedules/tokenadapt_adamw_1xb128-1e.py",
    "../_base_/default_runtime.py",
]

affine = dict(type="seitpp.BatchRandomAffine", degrees=15, translate=0.1, shear=10)
crop = dict(type="seitpp.BatchRandomResizedCrop", size=8, scale=(0.6, 1.0))  # 4 x 4 tokens of 2 x 2 positions
model = dict(
    token_adapt=dict(
        codebook_size=64, code_dim=4, grid=4, out_grid=4, dims=64, num_heads=4, head_dims=16, mlp_dims=256
    ),
    tokenizer=dict(
        _delete_=True,
        type="seitpp.PatchKMeans",
        image_size=8,
        patch_size=2,
        in_channels=1,
        codebook="work_dirs/quickstart/tokens/train",
    ),
    augments=[_base_.flip, dict(affine, part_prob=0.5, prob=0.5), crop, dict(_base_.mixup, prob=0.5)],
    eval_augments=dict(flip=[dict(_base_.flip, prob=1.0)], affine=[affine], rrc=[crop], mixup=[_base_.mixup]),
)
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")

max_epochs = 40
optim_wrapper = dict(optimizer=dict(lr=3e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=2, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
default_hooks = dict(logger=dict(interval=18), checkpoint=dict(interval=20, max_keep_ckpts=1))
