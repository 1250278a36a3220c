"""The study's TokenAdapt: 3,000 iterations of 64 images, 150 of them warm-up."""

_base_ = "./tokenadapt_adamw_1xb128-1e.py"

max_epochs = None
max_iters = 3000
optim_wrapper = dict(optimizer=dict(lr=3e-3))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=150, end=max_iters, by_epoch=False, convert_to_iter_based=False)
train_cfg = dict(_delete_=True, type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
