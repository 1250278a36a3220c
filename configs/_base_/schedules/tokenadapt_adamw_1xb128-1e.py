"""TokenAdapt (SeiT++, Sec. 4.7): AdamW, 1e-3 at 128 samples, one epoch of ImageNet-1k, cosine to 0 by iteration."""

max_epochs = 1

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = dict(
    type="seitpp.WarmupCosineLR", warmup=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True
)
auto_scale_lr = dict(enable=True, base_batch_size=128)

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = dict(type="seitpp.TokenAdaptMetric")
test_evaluator = val_evaluator
