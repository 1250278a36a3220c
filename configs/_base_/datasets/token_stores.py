"""Two token stores of ViT-VQGAN's tokens, 32 x 32 codes of 391, that carry codebook and class names."""

data_root = "data/tokens/"
codebook_size = 391
grid_size = 28  # tokens of a crop, of 32

data_preprocessor = dict(type="seitpp.TokenDataPreprocessor", codebook=data_root + "train", crop_size=grid_size)

loading = dict(
    num_workers=0,  # a batch is one fetch, which workers would only copy
    persistent_workers=False,
    collate_fn=dict(type="seitpp.identity_collate"),
    pin_memory=True,
)

train_dataloader = dict(
    batch_size=128,
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="train"),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    drop_last=True,
    **loading,
)
val_dataloader = dict(
    batch_size=128,
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="val", test_mode=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    **loading,
)
test_dataloader = val_dataloader
