"""DeiT from scratch: AdamW, 5e-4 per 512 samples, decay 0.05; warm-up, cosine and average of weights as SeiT."""

_base_ = "./seit_adamw_8xb128-300e.py"

lr = 5e-4 * 1024 / 512
optim_wrapper = dict(optimizer=dict(lr=lr, weight_decay=0.05))
param_scheduler = dict(start_ratio=1e-6 / lr, eta_min_ratio=1e-5 / lr)
