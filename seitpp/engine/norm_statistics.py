"""The hook that keeps the running statistics of batch normalisation the same on every process."""

from mmengine.dist import all_reduce_params
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.nn.modules.batchnorm import _BatchNorm

from seitpp.registry import HOOKS


@HOOKS.register_module()
class SyncNormStatisticsHook(Hook):
    """Average running means and variances over the processes before a model is scored and saved.

    At the end of an epoch, and in a run by iteration before each validation.

    Each process updates them by its own batches; unless they are averaged, a validation scores as many models as there
    are processes, and a checkpoint holds that of the first. mmengine's `SyncBuffersHook` averages every buffer, and
    with it rounds the codebook, which belongs to the tokens bit for bit.
    """

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Average where a validation follows this iteration."""
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop) and self.every_n_train_iters(runner, loop.val_interval):
            self.after_train_epoch(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average."""
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                all_reduce_params([one for one in module.buffers() if one.is_floating_point()], op="mean")
