"""scikit-learn's handwritten digits as 8 x 8 grey PNG files; written by tools/quickstart.sh."""

data_root = "work_dirs/quickstart/images/"

# Bytes to [0, 1].
data_preprocessor = dict(type="mmpretrain.SelfSupDataPreprocessor", mean=[0], std=[255], non_blocking=True)

pipeline = [
    dict(type="mmcv.LoadImageFromFile", color_type="grayscale"),
    dict(type="mmpretrain.PackInputs"),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type="mmpretrain.CustomDataset", data_root=data_root, data_prefix="train", with_label=False, pipeline=pipeline
    ),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    drop_last=True,
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type="mmpretrain.CustomDataset", data_root=data_root, data_prefix="val", with_label=False, pipeline=pipeline
    ),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
test_dataloader = val_dataloader
