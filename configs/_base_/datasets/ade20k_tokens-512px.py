"""ADE20k (20,210 + 2,000 images, 150 classes) as stores of 64 x 64 codes of ViT-VQGAN; docs/segmentation.md makes them.

Label maps of the training store are 512 x 512; those of the validation store may have the size of their images, at
which mmseg and the literature score.
"""

data_root = "data/ade20k-tokens/"
num_classes = 150

data_preprocessor = dict(type="seitpp.TokenSegDataPreprocessor", codebook=data_root + "train")

train_dataloader = dict(
    batch_size=2,
    num_workers=4,  # they decode label maps; tokens are one fetch a batch
    persistent_workers=True,
    dataset=dict(type="seitpp.TokenSegDataset", data_root=data_root, store="train", preset="ade20k"),
    sampler=dict(type="mmengine.InfiniteSampler", shuffle=True),
    collate_fn=dict(type="seitpp.identity_collate"),
    pin_memory=True,
)
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type="seitpp.TokenSegDataset", data_root=data_root, store="val", preset="ade20k", test_mode=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    collate_fn=dict(type="seitpp.identity_collate"),
    pin_memory=True,
)
test_dataloader = val_dataloader

# mIoU, mAcc and aAcc in percent, per class in the log; which label sizes were scored stands there, too.
val_evaluator = dict(type="seitpp.LabelSizeIoUMetric", iou_metrics=["mIoU"], prefix="seg")
test_evaluator = val_evaluator
