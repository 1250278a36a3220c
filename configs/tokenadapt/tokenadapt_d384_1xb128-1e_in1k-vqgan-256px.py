"""TokenAdapt for the OpenImages VQGAN's codes, K = 16,384, 4 values per code (SeiT++, Table 8).

    python tools/train.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-vqgan-256px.py --amp

Expect: not run here; the paper gives the classifier's score alone.
"""

_base_ = "tokenadapt_d384_1xb128-1e_in1k-256px.py"

# The map keeps the 32 channels it has for ViT-VQGAN; the paper does not say.
model = dict(
    token_adapt=dict(codebook_size=16384, code_dim=4, map_dims=32),
    tokenizer=dict(_delete_=True, type="seitpp.VQGAN", arch="ldm_vq_f8", checkpoint="checkpoints/ldm_vq_f8.pth"),
)
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)  # pixels in [-1, 1]
