"""DeiT's transfer to small sets (its authors on Cars and CIFAR-10): SGD 0.01 at 768 samples, 1000 epochs, cosine."""

max_epochs = 1000

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
        custom_keys={".cls_token": dict(decay_mult=0.0), ".pos_embed": dict(decay_mult=0.0)},
    ),
)
param_scheduler = dict(
    type="seitpp.WarmupCosineLR", warmup=5, end=max_epochs, by_epoch=True, convert_to_iter_based=True
)
auto_scale_lr = dict(enable=True, base_batch_size=768)

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=50)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = dict(type="mmpretrain.Accuracy", topk=(1, 5))
test_evaluator = val_evaluator
