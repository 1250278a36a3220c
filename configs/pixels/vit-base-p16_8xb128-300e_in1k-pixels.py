"""ViT-B from scratch on pixels, ImageNet-1k (SeiT++, Table 1: full pixels and, with smaller data, the pixel baselines).

    bash tools/dist_train.sh configs/pixels/vit-base-p16_8xb128-300e_in1k-pixels.py 8 --amp

Expect: not run here. The paper: 81.8 % top-1, which is DeiT-B's published number; neither SeiT++ nor SeiT's release has
a recipe for pixels. Network, rates and augmentation are DeiT's, as far as mmpretrain has them: without repeated
augmentation, as its deit-base_16xb64_in1k (81.76 %), which warms up for 20 epochs (here DeiT's 5) and clips gradients.
Compare `accuracy/top1`, the average of the weights. Images of tools/dataset_converters/shrink_images.py:
`--cfg-options train_dataloader.dataset.data_root=data/imagenet-jpeg5/`.
"""

_base_ = [
    "../_base_/models/deit_vit-base-p16.py",
    "../_base_/datasets/in1k_pixels-224px.py",
    "../_base_/schedules/deit_adamw_8xb128-300e.py",
    "../_base_/default_runtime.py",
]

default_hooks = dict(checkpoint=dict(save_best="accuracy/top1", rule="greater"))
