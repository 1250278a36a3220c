"""ImageNet-1k as images in class folders, data/imagenet/{train,val}/n01440764/*, with DeiT's augmentation of pixels.

The parts and numbers are those of mmpretrain's deit-base_16xb64_in1k. Training images of any size are cropped and
brought to 224 x 224; so are those of tools/dataset_converters/shrink_images.py.
"""

data_root = "data/imagenet/"
num_classes = 1000
mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]  # RGB

data_preprocessor = dict(
    type="mmpretrain.ClsDataPreprocessor",
    _scope_="mmpretrain",
    num_classes=num_classes,
    mean=mean,
    std=std,
    to_rgb=True,
    batch_augments=dict(augments=[dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]),
)

resizing = dict(backend="pillow", interpolation="bicubic")
train_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.RandomResizedCrop", scale=224, **resizing),
    dict(type="mmpretrain.RandomFlip", prob=0.5),
    dict(
        type="mmpretrain.RandAugment",
        _scope_="mmpretrain",  # it builds its policies without a prefix
        policies="timm_increasing",
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[round(value) for value in mean[::-1]], interpolation="bicubic"),
    ),
    dict(
        type="mmpretrain.RandomErasing",
        erase_prob=0.25,
        mode="rand",
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=mean[::-1],
        fill_std=std[::-1],
    ),
    dict(type="mmpretrain.PackInputs"),
]
val_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.ResizeEdge", scale=256, edge="short", **resizing),
    dict(type="mmpretrain.CenterCrop", crop_size=224),
    dict(type="mmpretrain.PackInputs"),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=False,  # they start anew at every epoch, so that each epoch has its own crops
    worker_init_fn=dict(type="seitpp.seed_worker"),
    dataset=dict(type="mmpretrain.CustomDataset", data_root=data_root, data_prefix="train", pipeline=train_pipeline),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    drop_last=True,
    pin_memory=True,
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(type="mmpretrain.CustomDataset", data_root=data_root, data_prefix="val", pipeline=val_pipeline),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    pin_memory=True,
)
test_dataloader = val_dataloader
