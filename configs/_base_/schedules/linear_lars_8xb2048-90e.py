"""Linear probe (MAE, A.1): LARS, 0.1 per 256 samples, 10 of 90 epochs of warm-up, cosine to 0, no weight decay."""

max_epochs = 90

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="mmpretrain.LARS", lr=0.1 * 16384 / 256, momentum=0.9, weight_decay=0.0),
    paramwise_cfg=dict(custom_keys={".bias": dict(lars_exclude=True)}),  # only matrices need rates of their own
)
param_scheduler = dict(
    type="seitpp.WarmupCosineLR", warmup=10, end=max_epochs, by_epoch=True, convert_to_iter_based=True
)
auto_scale_lr = dict(enable=True, base_batch_size=16384)

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=10)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = [dict(type="mmpretrain.Accuracy", topk=(1, 5)), dict(type="seitpp.CrossEntropy")]
test_evaluator = val_evaluator
