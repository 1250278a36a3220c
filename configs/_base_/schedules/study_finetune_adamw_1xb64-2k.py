"""The study's fine-tuning from MTM: the schedule of its other classifiers, and a layer decay of 0.75."""

_base_ = "./study_adamw_1xb64-2k.py"

optim_wrapper = dict(
    constructor="mmpretrain.LearningRateDecayOptimWrapperConstructor", paramwise_cfg=dict(layer_decay_rate=0.75)
)
