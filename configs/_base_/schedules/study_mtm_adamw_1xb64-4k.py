"""The study's pre-trainings: MTM's schedule for 4,000 iterations of 64 images, 200 of them warm-up."""

_base_ = "./mtm_adamw_8xb512-400e.py"

max_epochs = None
max_iters = 4000
optim_wrapper = dict(optimizer=dict(lr=2e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=200, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
