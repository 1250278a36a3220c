"""SeiT from scratch: AdamW, 7.5e-4 per 512 samples, 5 of 300 epochs of warm-up from 1e-6, cosine to 1e-5, EMA."""

max_epochs = 300
lr = 7.5e-4 * 1024 / 512

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.1, fused=True),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = dict(
    type="seitpp.WarmupCosineLR",
    warmup=5,  # SeiT's; the paper adjusts SeiT++'s to a number that neither it nor the release gives
    start_ratio=1e-6 / lr,
    eta_min_ratio=1e-5 / lr,
    end=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
auto_scale_lr = dict(enable=True, base_batch_size=1024)

# The average of the weights is what is validated, tested and kept as best; the raw weights' scores end in `_origin`.
# The release scores the raw ones, so these are what the paper's numbers compare with.
custom_hooks = [
    dict(type="seitpp.StepEMAHook", momentum=1 - 0.99996, evaluate_on_ema=True, evaluate_on_origin=True),
]

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=10)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = [dict(type="mmpretrain.Accuracy", topk=(1, 5)), dict(type="seitpp.CrossEntropy")]
test_evaluator = val_evaluator
