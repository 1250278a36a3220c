"""TokenAdapt for DCT coefficients, which it regresses (SeiT++, Table 8).

    python tools/train.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-dct-256px.py --amp

Expect: not run here; the paper gives the classifier's score alone.
"""

_base_ = "tokenadapt_d384_1xb128-1e_in1k-256px.py"

model = dict(
    token_adapt=dict(codebook_size=None, code_dim=33),
    tokenizer=dict(
        _delete_=True, type="seitpp.BlockDCT", quality=50, luma_coefficients=21, chroma_coefficients=6
    ),  # as configs/tokenizers/block_dct_q50.py
)
