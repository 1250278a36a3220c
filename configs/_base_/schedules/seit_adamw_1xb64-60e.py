"""SeiT from scratch on the quickstart's digits: 60 short epochs, and an average that forgets its start within them."""

_base_ = "./seit_adamw_8xb128-300e.py"

max_epochs = 60
lr = 4e-3
optim_wrapper = dict(optimizer=dict(lr=lr))
auto_scale_lr = dict(base_batch_size=64)
param_scheduler = dict(warmup=2, end=max_epochs, start_ratio=1e-6 / lr, eta_min_ratio=1e-5 / lr)
custom_hooks = [dict(type="seitpp.StepEMAHook", momentum=0.01, evaluate_on_ema=True, evaluate_on_origin=True)]
train_cfg = dict(max_epochs=max_epochs, val_interval=10)
