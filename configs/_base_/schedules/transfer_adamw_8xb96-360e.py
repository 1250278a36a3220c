"""DeiT's transfer to iNaturalist (its authors): AdamW 7.5e-5 at 768 samples, weight decay 0.05, 360 epochs, cosine."""

_base_ = "./transfer_sgd_8xb96-1000e.py"

max_epochs = 360
lr = 7.5e-5

optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=lr, weight_decay=0.05, fused=True))
param_scheduler = dict(start_ratio=1e-6 / lr, eta_min_ratio=1e-5 / lr, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
