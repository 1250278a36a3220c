"""tokenadapt_d384_1xb128-1e_in1k-256px.py from pairs prepared once, where the tokenizer is the bottleneck.

    python tools/make_token_pairs.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px.py data/in1k-token-pairs
    python tools/train.py configs/tokenadapt/tokenadapt_d384_1xb128-1e_in1k-token-pairs.py --amp

Validates on images, as the other. Expect: not run here.
"""

_base_ = "tokenadapt_d384_1xb128-1e_in1k-256px.py"

train_dataloader = dict(
    _delete_=True,
    batch_size=128 // 32,  # groups of 32 pairs
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type="seitpp.TokenPairDataset", store="data/in1k-token-pairs"),
    sampler=dict(type="mmengine.DefaultSampler", shuffle=True),
    collate_fn=dict(type="seitpp.identity_collate"),
    drop_last=True,
)
# The rate follows the loader's items, which are groups.
auto_scale_lr = dict(base_batch_size=128 // 32)
