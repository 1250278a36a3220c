"""ImageNet-1k as the ViT-VQGAN tokens of the SeiT release: 1,281,167 + 50,000 images of 32 x 32 codes, K = 391.

Expects in data/imagenet1k-tokens/ the release's files imagenet1k-{train,val}-token.data.bin.gz, -token.index.npy.gz,
-label.txt and codebook.ckpt. A token store takes the place of a release file by its folder's name alone; docs/data.md.
"""

data_root = "data/imagenet1k-tokens/"
codebook_size = 391
grid_size = 28  # tokens of a crop, of 32

data_preprocessor = dict(
    type="seitpp.TokenDataPreprocessor",
    codebook=data_root + "codebook.ckpt",
    crop_size=grid_size,
    output="codes",
)

train_dataloader = dict(
    batch_size=128,
    num_workers=0,  # a batch is one fetch; workers would only copy it
    persistent_workers=False,
    dataset=dict(
        type="seitpp.TokenDataset",
        data_root=data_root,
        store="imagenet1k-train-token.data.bin.gz",
        codebook_size=codebook_size,
    ),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    collate_fn=dict(type="seitpp.identity_collate"),
    drop_last=True,
    pin_memory=True,
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type="seitpp.TokenDataset",
        data_root=data_root,
        store="imagenet1k-val-token.data.bin.gz",
        codebook_size=codebook_size,
        test_mode=True,
    ),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
    collate_fn=dict(type="seitpp.identity_collate"),
    pin_memory=True,
)
test_dataloader = val_dataloader
