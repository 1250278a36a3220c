"""Tokenizer training (Yu et al. 2021, Sec. 5): 500,000 steps of 256 images, AdamW, a tenth warm-up, cosine to half."""

max_epochs = 100  # 500,400 steps of ImageNet-1k

optim_wrapper = dict(
    type="OptimWrapper",
    constructor="seitpp.AdversarialOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.99), weight_decay=1e-4, fused=True),
    # Neither biases and norms nor the codebook decay.
    paramwise_cfg=dict(
        norm_decay_mult=0.0, bias_decay_mult=0.0, custom_keys={"tokenizer.codebook": dict(decay_mult=0.0)}
    ),
)
param_scheduler = dict(
    type="seitpp.WarmupCosineLR",
    warmup=10,
    eta_min_ratio=0.5,
    end=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
auto_scale_lr = dict(enable=True, base_batch_size=256)

train_cfg = dict(type="mmengine.EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="mmengine.ValLoop")
test_cfg = dict(type="mmengine.TestLoop")

val_evaluator = dict(type="seitpp.ReconstructionMetric")
test_evaluator = val_evaluator

custom_hooks = [dict(type="seitpp.ReconstructionImageHook")]
