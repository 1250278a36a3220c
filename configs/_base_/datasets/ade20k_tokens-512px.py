"""ADE20k (20,210 + 2,000 images, 150 classes) as stores of 64 x 64 codes of ViT-VQGAN; docs/segmentation.md makes them.

Label maps of the training store are 512 x 512; those of the validation store may have the size of their images, at
which mmseg and the literature score.
"""

data_root = "data/ade20k-tokens/"
num_classes = 150

data_preprocessor = dict(type="seitpp.TokenSegDataPreprocessor", codebook=data_root + "train")

loading = dict(
    num_workers=4,  # they decode label maps; the tokens of a batch are one fetch
    persistent_workers=True,
    collate_fn=dict(type="seitpp.identity_collate"),
    pin_memory=True,
)
stores = dict(type="seitpp.TokenSegDataset", data_root=data_root, preset="ade20k")
train_dataloader = dict(
    batch_size=2,
    dataset=dict(stores, store="train"),
    sampler=dict(type="mmengine.InfiniteSampler", shuffle=True),
    **loading,
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(stores, store="val", test_mode=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader

# mIoU, mAcc and aAcc in percent; the log has each class, and the sizes of the label maps that were scored.
val_evaluator = dict(type="seitpp.LabelSizeIoUMetric", iou_metrics=["mIoU"], prefix="seg")
test_evaluator = val_evaluator
