"""A running average of the weights that follows optimizer steps, whatever number of batches makes one."""

from typing import Any

from mmengine.runner import Runner
from mmpretrain.engine.hooks import EMAHook

from seitpp.engine.accumulation import accumulated_batches, has_stepped
from seitpp.registry import HOOKS


@HOOKS.register_module()
class StepEMAHook(EMAHook):
    """mmpretrain's `EMAHook` in optimizer steps: `momentum`, `interval`, annealing and `begin_iter` count these.

    The libraries' hooks average after each batch, so that with n accumulated batches a decay of d acts as d^n.

    Args:
        **kwargs: As for `mmpretrain.EMAHook`, which takes those of `mmengine.EMAHook`, too.
    """

    def before_run(self, runner: Runner) -> None:
        """Begin with the weights as they are; keep the count on the CPU, where each step asks for it."""
        super().before_run(runner)
        self.ema_model.steps = self.ema_model.steps.cpu()

    def before_train(self, runner: Runner) -> None:
        """Count anew where a run only starts from the weights of another one."""
        super().before_train(runner)
        if not runner._resume:
            self.ema_model.steps.zero_()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Average after each optimizer step."""
        if has_stepped(runner):
            super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def _ema_started(self, runner: Runner) -> bool:
        if self.enabled_by_epoch:
            return super()._ema_started(runner)
        return runner.iter // accumulated_batches(runner) + 1 >= self.begin_iter
