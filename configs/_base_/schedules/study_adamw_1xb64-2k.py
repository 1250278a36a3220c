"""Every classifier of the study: AdamW, 100 of 2,000 iterations of warm-up, cosine, an average of the weights.

One schedule for all networks, so that a comparison shows what it is called after; the rate is chosen for each.
"""

_base_ = "./seit_adamw_1xb64-60e.py"

max_epochs = None
max_iters = 2000
param_scheduler = dict(warmup=100, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
