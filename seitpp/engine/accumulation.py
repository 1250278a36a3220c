"""Accumulated batches: how many make an optimizer step, and a loop that counts steps."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

from seitpp.engine.adversarial_optim import JointOptimWrapper
from seitpp.registry import LOOPS


def accumulated_batches(runner: Runner) -> int:
    """Return the iterations of the loop that make one optimizer step."""
    return 1 if isinstance(getattr(runner, "_train_loop", None), StepTrainLoop) else batches_per_step(runner)


def has_stepped(runner: Runner) -> bool:
    """Return whether the optimizer made a step in the iteration that has just ended."""
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict) and not isinstance(wrapper, JointOptimWrapper):
        return any(one.should_update() for one in wrapper.values())
    return wrapper.should_update()


def batches_per_step(runner: Runner) -> int:
    """Return the number of batches whose gradients the optimizer wrapper adds up."""
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict) and not isinstance(wrapper, JointOptimWrapper):
        return max(one._accumulative_counts for one in wrapper.values())
    return getattr(wrapper, "_accumulative_counts", 1)


class _Grouped:
    """An endless iterator of batches that gives them in groups, each of one step."""

    def __init__(self, batches: Iterator[Any], size: int) -> None:
        self._batches: Any = batches  # mmengine's iterator, which can skip
        self._size = size

    def __iter__(self) -> "_Grouped":
        return self

    def __next__(self) -> list[Any]:
        return [next(self._batches) for _ in range(self._size)]

    def skip_iter(self, num_iters: int) -> None:
        """Pass over steps that were trained before."""
        self._batches.skip_iter(num_iters * self._size)


@LOOPS.register_module()
class StepTrainLoop(IterBasedTrainLoop):
    """`IterBasedTrainLoop` whose iterations are optimizer steps of `optim_wrapper.accumulative_counts` batches each.

    So `max_iters`, schedules, validations, checkpoints and the log count steps: a config means the same with one batch
    of 16 samples as with four batches of 4. Hooks see the last batch of a step and the mean of its losses.
    """

    def run(self) -> torch.nn.Module:
        """Train; tell the optimizer wrapper, which counts batches, how many there are."""
        size = batches_per_step(self.runner)
        self.dataloader_iterator = _Grouped(self.dataloader_iterator, size)
        self.runner.optim_wrapper.initialize_count_status(self.runner.model, self._iter * size, self._max_iters * size)
        return super().run()

    def run_iter(self, batches: Sequence[Any]) -> None:
        """Make one step of the batches of a group."""
        runner = self.runner
        runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batches[-1])
        outputs = [runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper) for batch in batches]
        runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batches[-1], outputs=_mean_of(outputs))
        self._iter += 1


def _mean_of(outputs: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: sum(one[name] for one in outputs) / len(outputs) for name in outputs[0]}
