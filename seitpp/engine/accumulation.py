"""Accumulated batches: what a step is to everything that counts, where several batches make one."""

from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner


def accumulated_batches(runner: Runner) -> int:
    """Iterations of the loop that make one optimizer step."""
    wrapper = runner.optim_wrapper
    if isinstance(wrapper, OptimWrapperDict) and not hasattr(wrapper, "_accumulative_counts"):
        return max(one._accumulative_counts for one in wrapper.values())
    return getattr(wrapper, "_accumulative_counts", 1)


def has_stepped(runner: Runner) -> bool:
    """Whether the optimizer made a step in the iteration that has just ended."""
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return any(one.should_update() for one in wrappers)
