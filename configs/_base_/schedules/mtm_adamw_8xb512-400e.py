"""MTM pre-training: AdamW, 1.5e-4 per 256 samples, 40 of 400 epochs of warm-up, cosine to 0 by iteration."""

max_epochs = 400

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1.5e-4 * 4096 / 256, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    # No decay on biases and norms; class and mask token, positions and token embedding do decay (release).
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = dict(
    type="seitpp.WarmupCosineLR", warmup=40, end=max_epochs, by_epoch=True, convert_to_iter_based=True
)
# The rate follows the samples of a step, whatever the number of GPUs, batch size or accumulation.
auto_scale_lr = dict(enable=True, base_batch_size=4096)

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=20)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = dict(type="seitpp.MaskedCodeMetric")
test_evaluator = val_evaluator
