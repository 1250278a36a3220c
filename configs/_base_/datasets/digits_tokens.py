"""scikit-learn's handwritten digits as 4 x 4 codes of a k-means tokenizer, K = 64; made by tools/quickstart.sh."""

data_root = "work_dirs/quickstart/tokens/"
codebook_size = 64

data_preprocessor = dict(
    type="seitpp.TokenDataPreprocessor",
    codebook=data_root + "train",
    distance="euclidean",  # as k-means
    output="codes",
)

loading = dict(
    num_workers=0,
    persistent_workers=False,
    collate_fn=dict(type="seitpp.identity_collate"),
)

train_dataloader = dict(
    batch_size=64,
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="train"),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    drop_last=True,
    **loading,
)
val_dataloader = dict(
    batch_size=256,
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="val", test_mode=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader
