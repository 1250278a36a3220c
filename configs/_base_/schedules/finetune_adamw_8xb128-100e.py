"""Fine-tuning an MTM encoder: AdamW with layer decay 0.65, 5 of 100 epochs of warm-up, cosine to 1e-6."""

max_epochs = 100
# The release: base lr 1e-3 x sqrt(batch) / 8; at batch 1024 the same as the paper's 1e-3 per 256 samples.
lr = 1e-3 * 1024**0.5 / 8

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, betas=(0.9, 0.999), weight_decay=0.1, fused=True),
    constructor="mmpretrain.LearningRateDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        layer_decay_rate=0.65,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = dict(
    type="seitpp.WarmupCosineLR",
    warmup=5,
    eta_min_ratio=1e-6 / lr,
    end=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
auto_scale_lr = dict(enable=True, base_batch_size=1024, rule="sqrt")

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=5)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = [dict(type="mmpretrain.Accuracy", topk=(1, 5)), dict(type="seitpp.CrossEntropy")]
test_evaluator = val_evaluator
