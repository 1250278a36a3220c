"""Robustness of a classifier of pixels, on the sets of SeiT++'s Table 5 and through the pipeline of its test images.

    python tools/test_robustness.py configs/robustness/robustness_vit-base-p16_in1k-pixels.py CHECKPOINT

For the ViTs of configs/pixels/, whose sizes are the checkpoint's, and mmpretrain's `deit-base`. Any other classifier of
mmpretrain is scored with its own config in place of this one, for example mmpretrain's resnet50_8xb32_in1k.py.

Expect: not run here; the paper gives no figures of pixels.
"""

_base_ = [
    "../_base_/models/deit_vit-base-p16.py",
    "../_base_/datasets/in1k_pixels-224px.py",
    "../_base_/evaluation/robustness_in1k.py",
    "../_base_/default_runtime.py",
]

train_dataloader = val_dataloader = None
test_cfg = dict(type="mmengine.TestLoop")
test_evaluator = dict(type="mmpretrain.Accuracy", topk=(1, 5))
