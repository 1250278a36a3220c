"""The ViT of SeiT's MNIST recipe on pixels: Fashion-MNIST, or other grey images of about 28 x 28 pixels, of 10 classes.

    python tools/train.py configs/pixels/vit-tiny-p4_1xb64-30e_fashion-mnist-pixels.py

Expect: see docs/results.md.
"""

_base_ = [
    "../_base_/models/pixels_vit-tiny-p2.py",
    "../_base_/datasets/fashion-mnist_pixels.py",
    "../_base_/schedules/seit_adamw_1xb64-60e.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(img_size=_base_.image_size, patch_size=4))

max_epochs = 30
param_scheduler = dict(warmup=1, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
