"""mmseg's schedule for UPerNet with DeiT-B: AdamW 6e-5, 1500 iterations of warm-up, linear to 0, no layer decay."""

max_iters = 80000
warmup_iters = 1500

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01, fused=True),
    # mmseg names what has "norm" in its name, which here nothing in the backbone has; biases decay, as there.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type="mmengine.LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type="mmengine.PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]
auto_scale_lr = dict(enable=True, base_batch_size=16)
sync_bn = "torch"  # of several processes with GPUs

train_cfg = dict(type="mmengine.IterBasedTrainLoop", max_iters=max_iters, val_interval=8000)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")
