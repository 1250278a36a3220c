"""Fashion-MNIST, or other grey images of about 28 x 28 pixels, in class folders: data/fashion-mnist/{train,val}/.

Crops and CutMix are as weak and rare as those of small token maps (../augments/digits_seit.py).
"""

data_root = "data/fashion-mnist/"
image_size = 28

# Bytes to [0, 1], as k-means tokenizers see them.
data_preprocessor = dict(
    type="mmpretrain.ClsDataPreprocessor",
    _scope_="mmpretrain",
    num_classes=10,
    mean=[0],
    std=[255],
    batch_augments=dict(augments=dict(type="CutMix", alpha=1.0), probs=0.2),
)

resizing = dict(backend="pillow", interpolation="bicubic")
loading_step = dict(type="mmcv.LoadImageFromFile", color_type="grayscale")
crop = dict(type="mmpretrain.RandomResizedCrop", scale=image_size, crop_ratio_range=(0.6, 1.0), **resizing)
resize = dict(type="mmcv.Resize", scale=(image_size, image_size), **resizing)
packing = dict(type="mmpretrain.PackInputs")

images = dict(type="mmpretrain.CustomDataset", data_root=data_root)
loading = dict(num_workers=0, persistent_workers=False, collate_fn=dict(type="default_collate"))

train_dataloader = dict(
    batch_size=64,
    dataset=dict(images, data_prefix="train", pipeline=[loading_step, crop, packing]),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    drop_last=True,
    **loading,
)
val_dataloader = dict(
    batch_size=256,
    dataset=dict(images, data_prefix="val", pipeline=[loading_step, resize, packing]),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader
