"""DeiT's transfer to small sets (its authors on Cars and CIFAR-10): SGD 0.01 at 768 samples, 1000 epochs, cosine."""

max_epochs = 1000
lr = 0.01

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=lr, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
# From 1e-6 and to 1e-5, as DeiT trains.
param_scheduler = dict(
    type="seitpp.WarmupCosineLR",
    warmup=5,
    start_ratio=1e-6 / lr,
    eta_min_ratio=1e-5 / lr,
    end=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
auto_scale_lr = dict(enable=True, base_batch_size=768)

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=50)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = [dict(type="mmpretrain.Accuracy", topk=(1, 5)), dict(type="seitpp.CrossEntropy")]
test_evaluator = val_evaluator
