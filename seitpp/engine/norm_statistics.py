"""Batch normalisation: the same running statistics on every process, and enough values to have any."""

from functools import partial
from typing import Any

from mmengine.dist import all_reduce_params
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seitpp.registry import HOOKS


@HOOKS.register_module()
class SyncNormStatisticsHook(Hook):
    """Average running means and variances over the processes before a model is scored and saved.

    At the end of an epoch, and in a run by iteration before each validation.

    Each process updates them by its own batches; without averaging, each would score a model of its own. mmengine's
    `SyncBuffersHook` averages every buffer, and so would round the codebook, which must stay equal to the bit.
    """

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Average where a validation follows this iteration."""
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop) and self.every_n_train_iters(runner, loop.val_interval):
            self.after_train_epoch(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Average."""
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                all_reduce_params([one for one in module.buffers() if one.is_floating_point()], op="mean")


def explain_single_values(model: nn.Module) -> None:
    """Let a model's batch normalisation say what to do where training gives it a single value per channel.

    A batch of one sample whose map has one position, as of UPerNet's pooling to 1 x 1, has no variance.
    """
    for name, module in model.named_modules():
        # Over several processes `SyncBatchNorm` has the values of all.
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            module.register_forward_pre_hook(partial(_check_values, name))


def _check_values(name: str, module: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
    if module.training and inputs and inputs[0].ndim > 1 and inputs[0].numel() == inputs[0].shape[1]:
        raise ValueError(
            f"{name} normalises over a batch, and was given one value per channel, {tuple(inputs[0].shape)}: in "
            "training a batch of one sample has no variance there. Set train_dataloader.batch_size to at least 2 (and "
            "train_dataloader.drop_last=True if one sample is left over), use several GPUs with sync_bn, or another "
            "norm_cfg, such as dict(type='GN', num_groups=32)"
        )
