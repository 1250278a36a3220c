"""UPerNet on a ViT-B of codes: 64 x 64 codes of 512 x 512 pixels, 32 x 32 patches, four maps of them as a pyramid.

After mmseg's DeiT-B/16, but for the pyramid's neck, which its 80k-iteration file leaves out and its BEiT and MAE files
have: UPerNet wants maps of four scales, and a plain ViT has one. As there, the auxiliary head reads the third map,
which has the patches' own scale; DeiT's, without a neck, reads the last.
"""

# One process, and tests on a CPU, have no other. With two samples per GPU the statistics are taken over all GPUs:
# where there are several processes, the schedule's `sync_bn` makes SyncBN of it.
norm_cfg = dict(type="BN", requires_grad=True)
# The mean over labelled pixels. mmseg's configs divide by all pixels, so that samples with many unlabelled ones, which
# affine augmentation adds, would count less.
loss = dict(type="CrossEntropyLoss", avg_non_ignore=True)

model = dict(
    type="seitpp.TokenSegmentor",
    _scope_="mmseg",  # mmseg builds its own parts without a prefix
    backbone=dict(
        type="seitpp.TokenViT",
        arch=dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
        grid_size=64,  # pre-trained positions are resized, from 14 x 14 patches to 32 x 32
        patch_size=2,
        codebook_size=391,
        code_dim=32,
        token_drop_rate=0.1,
        drop_path_rate=0.1,
        out_type="featmap",
        out_indices=[2, 5, 8, 11],
        final_norm=False,  # as mmseg's DeiT: no map is normalised, not even the last
    ),
    neck=dict(type="Feature2Pyramid", embed_dim=768, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(
        type="UPerHead",
        in_channels=[768, 768, 768, 768],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(loss_weight=1.0, **loss),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=768,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(loss_weight=0.4, **loss),
    ),
    test_cfg=dict(mode="whole", keep_logits=False),
)
