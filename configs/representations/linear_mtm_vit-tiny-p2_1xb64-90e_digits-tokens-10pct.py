"""Linear probe of the quickstart's MTM of digits with 10 % of the labels, 12 images of each digit.

    python tools/train.py configs/representations/linear_mtm_vit-tiny-p2_1xb64-90e_digits-tokens-10pct.py

Expect: see docs/results.md.
"""

_base_ = "linear_mtm_vit-tiny-p2_1xb64-90e_digits-tokens.py"

# As many steps as on all labels: an epoch goes ten times over the 120 images.
train_dataloader = dict(
    dataset=dict(subset=dict(fraction=0.1, class_balanced=True, seed=0), keep_length=True),
)
