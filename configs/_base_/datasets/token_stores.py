"""Two token stores of ViT-VQGAN's tokens, 32 x 32 codes of 391, that carry codebook and class names."""

data_root = "data/tokens/"
codebook_size = 391
grid_size = 28  # tokens of a crop, of 32

data_preprocessor = dict(type="seitpp.TokenDataPreprocessor", codebook=data_root + "train", crop_size=grid_size)

train_dataloader = dict(
    batch_size=128,
    num_workers=0,  # a batch is one fetch; workers would only copy it
    persistent_workers=False,
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="train"),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    collate_fn=dict(type="seitpp.identity_collate"),
    drop_last=True,
    pin_memory=True,
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type="seitpp.TokenDataset", data_root=data_root, store="val", test_mode=True),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    collate_fn=dict(type="seitpp.identity_collate"),
    pin_memory=True,
)
test_dataloader = val_dataloader
