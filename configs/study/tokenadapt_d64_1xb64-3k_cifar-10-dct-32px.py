"""TokenAdapt for the DCT coefficients of dct_q50_cifar-10.py, which it regresses (compare SeiT++, Table 8).

    python tools/train.py configs/study/tokenadapt_d64_1xb64-3k_cifar-10-dct-32px.py

Expect: see docs/study.md.
"""

_base_ = "./tokenadapt_d64_1xb64-3k_cifar-10-32px.py"

grid_size, channels = 4, 18
crop = dict(_base_.crop, size=2 * grid_size)
model = dict(
    token_adapt=dict(codebook_size=None, code_dim=channels, grid=grid_size, out_grid=grid_size),
    tokenizer=dict(
        _delete_=True,
        type="seitpp.BlockDCT",
        image_size=32,
        quality=50,
        luma_coefficients=12,
        chroma_coefficients=3,
    ),
    augments=[_base_.flip, dict(_base_.affine, part_prob=0.5, prob=0.5), crop, dict(_base_.mixup, prob=0.5)],
    eval_augments=dict(rrc=[crop]),
)
