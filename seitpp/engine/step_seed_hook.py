"""The hook that makes a resumed run draw what an uninterrupted one draws."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner, set_random_seed

from seitpp.registry import HOOKS
from seitpp.structures.seeds import step_seed


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Make every draw of a step a function of (seed, step, rank), not of what was drawn before.

    Random states are not in a checkpoint. With this hook a run that was killed and resumed draws the same masks,
    augmentations and dropout as one that was not, and ranks draw different ones.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Runner) -> None:
        """Reseed before the first batch is loaded: data sets that augment draw here or in processes seeded here."""
        set_random_seed(step_seed(runner.seed, -1 - runner.epoch, get_rank()))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Reseed all generators."""
        set_random_seed(step_seed(runner.seed, runner.iter, get_rank()))
