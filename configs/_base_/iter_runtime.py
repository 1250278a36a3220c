"""What every run by iteration shares."""

_base_ = "./default_runtime.py"

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=8000, max_keep_ckpts=1, save_best="seg/mIoU", rule="greater"),
    # Where batch norm does not share its statistics (`sync_bn` is for GPUs).
    norm_statistics=dict(type="seitpp.SyncNormStatisticsHook"),
)
log_processor = dict(by_epoch=False)
