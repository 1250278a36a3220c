"""TokenAdapt for the DCT coefficients of dct_q50_fashion-mnist.py, which it regresses (compare SeiT++, Table 8).

    python tools/train.py configs/study/tokenadapt_d64_1xb64-3k_fashion-mnist-dct-32px.py

Expect: see docs/study.md.
"""

_base_ = "./tokenadapt_d64_1xb64-3k_fashion-mnist-28px.py"

side, grid_size, channels = 32, 4, 12
coefficients = dict(quality=50, luma_coefficients=channels, chroma_coefficients=0, in_channels=1)
crop = dict(_base_.crop, size=2 * grid_size)
model = dict(
    token_adapt=dict(codebook_size=None, code_dim=channels, grid=grid_size, out_grid=grid_size),
    tokenizer=dict(_delete_=True, type="seitpp.BlockDCT", image_size=side, **coefficients),
    augments=[dict(_base_.affine, part_prob=0.5, prob=0.5), crop, dict(_base_.mixup, prob=0.5)],
    eval_augments=dict(rrc=[crop]),
)

scaled = dict(type="mmcv.Resize", scale=(side, side), backend="pillow", interpolation="bicubic")
pipeline = [_base_.pipeline[0], scaled, *_base_.pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
val_dataloader = dict(dataset=dict(pipeline=pipeline))
test_dataloader = dict(dataset=dict(pipeline=pipeline))
