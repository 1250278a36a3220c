"""What every run of the study shares: it counts iterations, so that every cell of a table has as many."""

_base_ = "./default_runtime.py"

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=1000, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False)
