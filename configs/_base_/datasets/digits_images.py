"""scikit-learn's handwritten digits as 8 x 8 grey PNG files; written by tools/quickstart.sh."""

data_root = "work_dirs/quickstart/images/"

# Bytes to [0, 1].
data_preprocessor = dict(type="mmpretrain.SelfSupDataPreprocessor", mean=[0], std=[255], non_blocking=True)

pipeline = [
    dict(type="mmcv.LoadImageFromFile", color_type="grayscale"),
    dict(type="mmpretrain.PackInputs"),
]

images = dict(type="mmpretrain.CustomDataset", data_root=data_root, with_label=False, pipeline=pipeline)
loading = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type="default_collate"))

train_dataloader = dict(
    batch_size=64,
    dataset=dict(images, data_prefix="train"),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    drop_last=True,
    **loading,
)
val_dataloader = dict(
    batch_size=256,
    dataset=dict(images, data_prefix="val"),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader
