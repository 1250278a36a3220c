"""The study's linear probes: 2,000 iterations of 64 images, 100 of them warm-up."""

_base_ = "./linear_lars_8xb2048-90e.py"

max_epochs = None
max_iters = 2000
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=100, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
