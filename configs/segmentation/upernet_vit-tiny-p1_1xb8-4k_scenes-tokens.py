"""UPerNet from scratch on tokens of digits on photographs, in half an hour on a CPU.

    python tools/train.py configs/segmentation/upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py

Expect: see docs/segmentation.md.
"""

_base_ = [
    "../_base_/models/upernet_token-vit-tiny-p1.py",
    "../_base_/datasets/scenes_tokens.py",
    "../_base_/schedules/seg_adamw_8xb2-80k.py",
    "../_base_/iter_runtime.py",
]

# Nine pixels in ten are background: without weights the network predicts nothing else for its first thousand steps.
# mmseg refuses weights with avg_non_ignore, which makes no difference here, where every pixel has a label.
loss = dict(avg_non_ignore=False, class_weight=[0.15, 1.0, 1.0, 1.0, 1.0])
model = dict(decode_head=dict(loss_decode=loss), auxiliary_head=dict(loss_decode=loss))

max_iters, warmup_iters = 4000, 50
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=8)
param_scheduler = [
    dict(type="mmengine.LinearLR", start_factor=1e-3, by_epoch=False, begin=0, end=warmup_iters),
    dict(type="mmengine.PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=500)
default_hooks = dict(checkpoint=dict(interval=500))
