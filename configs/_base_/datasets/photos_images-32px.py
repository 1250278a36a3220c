"""Crops of scikit-learn's two photographs, 32 x 32 pixels; made by tools/dataset_converters/sample_photos.py."""

data_root = "data/photos/"

# Bytes to [0, 1], RGB.
data_preprocessor = dict(
    type="mmpretrain.SelfSupDataPreprocessor", mean=[0] * 3, std=[255] * 3, to_rgb=True, non_blocking=True
)

train_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.RandomCrop", crop_size=32),
    dict(type="mmpretrain.RandomFlip", prob=0.5),
    dict(type="mmpretrain.PackInputs"),
]
val_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.CenterCrop", crop_size=32),
    dict(type="mmpretrain.PackInputs"),
]

images = dict(type="mmpretrain.CustomDataset", data_root=data_root, with_label=False)
loading = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type="default_collate"))

train_dataloader = dict(
    batch_size=32,
    dataset=dict(images, data_prefix="train", pipeline=train_pipeline),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    drop_last=True,
    **loading,
)
val_dataloader = dict(
    batch_size=256,
    dataset=dict(images, data_prefix="val", pipeline=val_pipeline),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader
