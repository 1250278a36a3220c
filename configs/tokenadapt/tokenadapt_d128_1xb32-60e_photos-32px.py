"""TokenAdapt for the small ViT-VQGAN that trains here: 8 x 8 codes of 256 to 6 x 6, on crops of two photographs.

    python tools/dataset_converters/sample_photos.py data/photos
    python tools/train.py configs/tokenizers/vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px.py
    python tools/train.py configs/tokenadapt/tokenadapt_d128_1xb32-60e_photos-32px.py

Expect: see docs/results.md, which compares it with augmenting the embeddings and with copying the tokens.
"""

_base_ = [
    "../_base_/models/tokenadapt_d384.py",
    "../_base_/models/vitvqgan_tiny-p4-k256.py",
    "../_base_/datasets/photos_images-32px.py",
    "../_base_/schedules/tokenadapt_adamw_1xb128-1e.py",
    "../_base_/default_runtime.py",
]

# 6 x 6 tokens of 2 x 2 positions; the crop in the middle begins at a token.
crop, centre_crop = dict(_base_.crop, size=12), dict(_base_.centre_crop, size=12)
model = dict(
    token_adapt=dict(
        codebook_size=256, code_dim=16, grid=8, out_grid=6, dims=128, num_heads=4, head_dims=32, mlp_dims=512
    ),
    tokenizer=dict(
        _delete_=True,
        checkpoint="work_dirs/vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px/epoch_60.pth",
        **_base_.tokenizer,
    ),
    augments=[_base_.flip, dict(_base_.affine, part_prob=0.5, prob=0.5), crop, dict(_base_.mixup, prob=0.5)],
    eval_augments=dict(
        flip=[dict(_base_.flip, prob=1.0), centre_crop],
        affine=[_base_.affine, centre_crop],
        rrc=[crop],
        mixup=[_base_.mixup, centre_crop],
    ),
)
data_preprocessor = dict(type="seitpp.TokenPairDataPreprocessor")
train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        pipeline=[
            dict(type="mmcv.LoadImageFromFile"),
            # Two photographs have few colours, and the network would know no others.
            dict(type="mmpretrain.ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.5, backend="cv2"),
            dict(type="mmpretrain.RandomCrop", crop_size=32),
            dict(type="mmpretrain.RandomFlip", prob=0.5),
            dict(type="mmpretrain.PackInputs"),
        ]
    ),
)

max_epochs = 60
optim_wrapper = dict(optimizer=dict(lr=5e-3, betas=(0.9, 0.99)))
auto_scale_lr = dict(base_batch_size=32)
param_scheduler = dict(warmup=1, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
default_hooks = dict(logger=dict(interval=51), checkpoint=dict(interval=20, max_keep_ckpts=1))
