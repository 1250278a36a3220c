"""MTM with a ViT-B encoder on 28 x 28 codes of ViT-VQGAN (SeiT++, Sec. 3.2, C).

Masking and the padding of the decoder's input follow the release, which differs from the paper's text
(seitpp/models/mtm/mtm.py), and so do the sizes of the decoder, dropout and initial values.
"""

model = dict(
    type="seitpp.MTM",
    backbone=dict(
        type="seitpp.MTMViT",
        arch=dict(embed_dims=768, num_layers=12, num_heads=12, feedforward_channels=3072),
        grid_size=28,
        patch_size=2,
        codebook_size=391,
        code_dim=32,
        token_drop_rate=0.1,
        init_cfg=[dict(type="Xavier", layer="Linear", distribution="uniform")],
    ),
    neck=dict(
        type="seitpp.MTMPretrainDecoder",
        decoder_embed_dims=512,
        num_layers=4,
        num_heads=16,
        drop_rate=0.1,
        attn_drop_rate=0.1,
        init_cfg=[dict(type="Xavier", layer="Linear", distribution="uniform")],
    ),
    head=dict(
        type="seitpp.MTMPretrainHead",
        init_cfg=[dict(type="Xavier", layer="Linear", distribution="uniform")],
    ),
    mask_ratio=dict(mean=0.45, std=0.25, low=0.4, high=1.0),
    eval_mask_ratio=0.6,
)
