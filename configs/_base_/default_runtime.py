"""What every run shares: scope, logging, checkpoints, seeds, guards."""

default_scope = "seitpp"

default_hooks = dict(
    runtime_info=dict(type="seitpp.RuntimeInfoHook"),
    timer=dict(type="mmengine.IterTimerHook"),
    logger=dict(type="mmengine.LoggerHook", interval=50),
    param_scheduler=dict(type="mmengine.ParamSchedulerHook"),
    checkpoint=dict(type="seitpp.WholeCheckpointHook", interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type="mmengine.DistSamplerSeedHook"),
    # Ours are here and not in `custom_hooks`, a list that a config replaces when it adds hooks.
    step_seed=dict(type="seitpp.StepSeedHook"),
    checkpoint_guard=dict(type="seitpp.CheckpointGuardHook"),
    data_guard=dict(type="seitpp.DataGuardHook"),
    class_guard=dict(type="seitpp.ClassGuardHook"),
    finite_guard=dict(type="seitpp.FiniteGuardHook"),
)

# TensorBoard or Weights & Biases: docs/training.md.
visualizer = dict(type="mmengine.Visualizer", vis_backends=[dict(type="mmengine.LocalVisBackend")])

env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0))
# The seed of everything drawn: weights, order, masks, augmentations. Ranks draw different ones (StepSeedHook).
randomness = dict(seed=0)
log_level = "INFO"
log_processor = dict(type="seitpp.TableLogProcessor", window_size=50, by_epoch=True)
load_from = None
resume = False
