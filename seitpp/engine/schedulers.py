"""The learning-rate schedule of the recipes, to the digit, as a function of the step and not of the step before."""

import math

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from seitpp.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up from 0 or a share of the peak, then a half cosine down to a share of it.

    mmengine's `LinearLR` and `CosineAnnealingLR` in a row cannot start at 0, and reach the peak one step early; this
    is the release's formula: `lr * e / warmup`, then `min + (lr - min) / 2 * (1 + cos(pi * progress))`.

    Args:
        *args: The optimizer, and with `**kwargs` the base class's options.
        warmup: Steps (epochs, before conversion) of the warm-up.
        eta_min_ratio: Final rate over the peak, of every parameter group's own peak: layer decay scales both.
        start_ratio: First rate of the warm-up over the peak.
        begin: First step.
        end: Step at which the cosine ends.
    """

    def __init__(
        self,
        *args: object,
        warmup: float = 0,
        eta_min_ratio: float = 0.0,
        start_ratio: float = 0.0,
        begin: int = 0,
        end: int = INF,
        **kwargs: object,
    ) -> None:
        if not 0 <= warmup < end - begin:
            raise ValueError(f"warm-up of {warmup} steps must end before the schedule of {end - begin} steps does")
        self.warmup = warmup
        self.eta_min_ratio = eta_min_ratio
        self.start_ratio = start_ratio
        super().__init__(*args, begin=begin, end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls, *args: object, warmup: float = 0, begin: int = 0, end: int = INF, epoch_length: int, **kwargs: object
    ) -> "WarmupCosineLR":
        """The same schedule by iteration, for epochs of `epoch_length` iterations."""
        if epoch_length < 1:
            raise ValueError(
                "an epoch has no batch: the data set does not fill one on every process; lower "
                "train_dataloader.batch_size"
            )
        kwargs["by_epoch"] = False
        end = end if end == INF else int(end * epoch_length)
        return cls(*args, warmup=warmup * epoch_length, begin=int(begin * epoch_length), end=end, **kwargs)

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step)
        return [base * factor for base in self.base_values]

    def factor(self, step: float) -> float:
        """Rate at a step over the peak."""
        if step < self.warmup:
            return self.start_ratio + (1 - self.start_ratio) * step / self.warmup
        progress = min((step - self.warmup) / (self.end - self.begin - self.warmup), 1.0)
        return self.eta_min_ratio + (1 - self.eta_min_ratio) / 2 * (1 + math.cos(math.pi * progress))
