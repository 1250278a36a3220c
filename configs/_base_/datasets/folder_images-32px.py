"""Images of any size in a folder with `train/` and `val/`, at any depth below: parts of them, at 32 x 32 pixels.

Training takes squares of a tenth of an image up to all of it, so that a network learns whole images as well as the
tiles of larger ones. Validation sees images as tools/tokenize_images.py brings them to this size.
"""

data_root = "data/images/"

# Bytes to [0, 1], RGB.
data_preprocessor = dict(
    type="mmpretrain.SelfSupDataPreprocessor", mean=[0] * 3, std=[255] * 3, to_rgb=True, non_blocking=True
)

resizing = dict(backend="pillow", interpolation="bicubic")
train_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.RandomResizedCrop", scale=32, crop_ratio_range=(0.1, 1.0), **resizing),
    dict(type="mmpretrain.RandomFlip", prob=0.5),
    dict(type="mmpretrain.PackInputs"),
]
val_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmcv.Resize", scale=(32, 32), keep_ratio=False, **resizing),
    dict(type="mmpretrain.PackInputs"),
]

images = dict(type="mmpretrain.CustomDataset", data_root=data_root, with_label=False)
loading = dict(num_workers=2, collate_fn=dict(type="default_collate"))

train_dataloader = dict(
    batch_size=32,
    dataset=dict(images, data_prefix="train", pipeline=train_pipeline),
    sampler=dict(type="mmengine.InfiniteSampler", shuffle=True),
    **loading,
)
val_dataloader = dict(
    batch_size=256,
    dataset=dict(images, data_prefix="val", pipeline=val_pipeline),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader
