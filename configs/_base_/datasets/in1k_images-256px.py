"""ImageNet-1k as images, 256 x 256 pixels: random crops of the shorter side in training, the centre at validation.

Expects image files anywhere below data/imagenet/train/ and data/imagenet/val/; labels play no part.
"""

data_root = "data/imagenet/"

# Bytes to [0, 1], RGB; not normalised by ImageNet's mean, as for the published tokenizer.
data_preprocessor = dict(
    type="mmpretrain.SelfSupDataPreprocessor", mean=[0] * 3, std=[255] * 3, to_rgb=True, non_blocking=True
)

train_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="mmpretrain.RandomCrop", crop_size=256),
    dict(type="mmpretrain.RandomFlip", prob=0.5),
    dict(type="mmpretrain.PackInputs"),
]
val_pipeline = [
    dict(type="mmcv.LoadImageFromFile"),
    dict(type="mmpretrain.ResizeEdge", scale=256, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="mmpretrain.CenterCrop", crop_size=256),
    dict(type="mmpretrain.PackInputs"),
]
# Without labels, any folder of images will do.
images = dict(type="mmpretrain.CustomDataset", data_root=data_root, with_label=False)

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=False,  # they start anew at every epoch, so that each epoch has its own crops
    worker_init_fn=dict(type="seitpp.seed_worker"),
    dataset=dict(images, data_prefix="train", pipeline=train_pipeline),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    drop_last=True,
    pin_memory=True,
)
val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    dataset=dict(images, data_prefix="val", pipeline=val_pipeline),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    pin_memory=True,
)
test_dataloader = val_dataloader
