"""What every run by iteration shares."""

_base_ = "./default_runtime.py"

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=8000, max_keep_ckpts=1, save_best="seg/mIoU", rule="greater"),
)
log_processor = dict(by_epoch=False)
