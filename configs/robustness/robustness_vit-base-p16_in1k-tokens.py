"""Robustness of any classifier of tokens (SeiT++, Table 5): clean, noise, blur, ImageNet-R, ImageNet-Sketch, ObjectNet.

    python tools/test_robustness.py configs/robustness/robustness_vit-base-p16_in1k-tokens.py CHECKPOINT

Sizes are those of the checkpoint, so that it serves ViT-S, codes and embeddings, and every tokenizer, too. Images are
tokenised on the way by what made data/imagenet1k-tokens/val, or by --tokenizer.

Expect: not run here. The paper: SeiT 74.0, 50.7, 62.6, 25.5, 22.6, 15.7 % top-1 in the order above, SeiT++ without MTM
75.5, 58.6, 66.8, 30.2, 27.7, 18.3 %.
"""

_base_ = [
    "../_base_/models/seit_vit-base-p16.py",
    "../_base_/datasets/in1k_tokens.py",
    "../_base_/evaluation/robustness_in1k.py",
    "../_base_/default_runtime.py",
]

data_preprocessor = dict(output="embeddings")
train_dataloader = val_dataloader = None
test_cfg = dict(type="mmengine.TestLoop")
test_evaluator = dict(type="mmpretrain.Accuracy", topk=(1, 5))
