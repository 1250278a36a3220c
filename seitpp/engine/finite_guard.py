"""A hook that stops a run that has diverged, before it saves, scores or goes on with what is no number."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from seitpp.engine.accumulation import accumulated_batches
from seitpp.engine.late_scalars import is_cheap_to_read
from seitpp.io.checkpoint import check_finite, shorten
from seitpp.registry import HOOKS

_REMEDY = (
    "Lower the rate (optim_wrapper.optimizer.lr), warm up for longer, or clip gradients (optim_wrapper.clip_grad=dict("
    "max_norm=1.0)); in float16 train in bfloat16 instead (--amp). --resume keeps the rate of the checkpoint: to go on "
    "with another, start from its weights (load_from)"
)


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Stop at the first loss or weight that is NaN or infinite, and never score such predictions.

    Losses and weights are checked after each step: on a CPU at once; on a GPU by kernels whose verdicts are read every
    `interval` iterations, so that nothing waits for the device, and in any case before a validation, before a
    checkpoint is written, and at the end. Gradients may overflow, since loss scaling lets them. What a checkpoint
    brings (weights, their average, the optimizer's state on resuming) and what predictions say is checked, too.

    Args:
        interval: Iterations between two readings of the verdict on a GPU.
    """

    priority = "LOW"  # after what logs the loss, before what saves

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f"the interval of iterations must be at least 1, got {interval}")
        self.interval = interval
        self._weights: dict[str, Tensor] = {}
        self._exempt: set[str] = set()
        self._iteration = 0  # the last one that was trained
        # First bad iteration of each loss term, and of the weights (""), on the device; infinite while there is none.
        self._first_bad: dict[str, Tensor] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Refuse weights, and on resuming an optimizer's state, that are not finite."""
        source = f"checkpoint {runner._load_from or 'to resume from'}"
        exempt = _infinite_buffers(_unwrapped(runner.model))
        parts = ("state_dict", "ema_state_dict", *(("optimizer",) if runner._resume else ()))
        for part in parts:
            found = dict(_tensors(checkpoint.get(part), part))
            check_finite({name: value for name, value in found.items() if _own_name(name) not in exempt}, source)

    def before_train(self, runner: Runner) -> None:
        """Note what to watch, and refuse weights that are not finite to begin with."""
        model = _unwrapped(runner.model)
        self._exempt = _infinite_buffers(model)
        self._weights = dict(_watched(model, self._exempt))
        self._first_bad = {}
        check_finite(dict(model.named_parameters()), "the model, before the first step,")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Mapping[str, Any] | None = None
    ) -> None:
        """Check the loss terms of this iteration, and the weights after it."""
        self._iteration = runner.iter
        for name, value in (outputs or {}).items():
            if "loss" in name:
                self._judge(runner, name, torch.as_tensor(value).detach())
        with torch.no_grad():
            if self._weights:
                self._judge(runner, "", get_total_norm(list(self._weights.values()), float("inf")))
        if self._first_bad and self.every_n_train_iters(runner, self.interval):
            self._read_verdict(runner)

    def before_val(self, runner: Runner) -> None:
        """Check the weights, which are not scored if they are no numbers."""
        self._read_verdict(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check all that is about to be written: weights, their average, the optimizer's state."""
        self._read_verdict(runner)
        for part in ("state_dict", "ema_state_dict", "optimizer"):
            found = _tensors(checkpoint.get(part), part)
            bad = [name for name, value in found if _own_name(name) not in self._exempt and not _is_finite(value)]
            if bad:
                raise ValueError(
                    f"training diverged: NaN or infinite values in {shorten(bad, 4)} at "
                    f"{_where(runner, self._iteration)}, found before a checkpoint was written. "
                    f"{self._consequence(runner)}"
                )

    def after_train(self, runner: Runner) -> None:
        """Check the weights that the run ends with."""
        self._read_verdict(runner)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Refuse to score predictions that are no numbers."""
        _check_predictions(runner.val_evaluator, outputs, f"validation batch {batch_idx + 1}")

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Refuse to score predictions that are no numbers."""
        _check_predictions(runner.test_evaluator, outputs, f"test batch {batch_idx + 1}")

    def _judge(self, runner: Runner, name: str, value: Tensor) -> None:
        """Stop at a loss term, or a norm of the weights (""), that is no number; on a device note when it first was."""
        if is_cheap_to_read(value):
            if not value.isfinite().all():
                self._stop(runner, name, runner.iter, value)
            return
        never = torch.full((), math.inf, device=value.device)
        now = torch.where(value.isfinite().all(), math.inf, float(runner.iter))
        self._first_bad[name] = torch.minimum(self._first_bad.get(name, never), now)

    def _read_verdict(self, runner: Runner) -> None:
        if not self._first_bad:
            return
        first = dict(zip(self._first_bad, torch.stack(list(self._first_bad.values())).tolist(), strict=True))
        name = min(first, key=first.get)  # losses come before weights, which they spoil
        if math.isfinite(first[name]):
            self._stop(runner, name, int(first[name]))

    def _stop(self, runner: Runner, name: str, iteration: int, value: Tensor | None = None) -> None:
        if not name:
            self._stop_for_weights(runner, iteration)
        said = "NaN or infinite" if value is None else value.item()
        raise ValueError(
            f"training diverged: the loss term {name!r} is {said} at {_where(runner, iteration)}. "
            f"{self._consequence(runner)}"
        )

    def _stop_for_weights(self, runner: Runner, iteration: int) -> None:
        bad = [name for name, value in self._weights.items() if not _is_finite(value)]
        raise ValueError(
            f"training diverged: NaN or infinite weights in {shorten(bad, 4)} after {_where(runner, iteration)}. "
            f"{self._consequence(runner)}"
        )

    @staticmethod
    def _consequence(runner: Runner) -> str:
        last = find_latest_checkpoint(runner.work_dir)
        kept = f"the last checkpoint from before is {last}" if last else "no checkpoint was written before"
        return f"The run was stopped and nothing was saved since; {kept}. {_REMEDY}"


def _where(runner: Runner, iteration: int) -> str:
    """The step of an iteration, both counted from 1, where several batches may make one step."""
    batches = accumulated_batches(runner)
    step = f"step {iteration // batches + 1}"
    return step if batches == 1 else f"{step} (iteration {iteration + 1}, {batches} to a step)"


def _infinite_buffers(model: nn.Module) -> set[str]:
    """Buffers that are made with infinite values, such as a mask that is added to logits."""
    return {name for name, value in model.named_buffers() if not _is_finite(value)}


def _watched(model: nn.Module, exempt: set[str]) -> Iterator[tuple[str, Tensor]]:
    """Weights that training changes, and buffers that are saved."""
    for name, value in model.named_parameters():
        if value.requires_grad and value.numel():
            yield name, value.detach()
    for prefix, module in model.named_modules():
        for key, value in module.named_buffers(prefix, recurse=False):
            is_saved = key.rpartition(".")[2] not in module._non_persistent_buffers_set
            if is_saved and key not in exempt and value.is_floating_point() and value.numel():
                yield key, value


def _own_name(name: str) -> str:
    """A weight's name without what a moving average or DDP puts before it."""
    return name.removeprefix("module.")


def _tensors(tree: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Tensors in a tree of dicts and lists by their names; those of a state dict by its own."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, key if name in ("state_dict", "ema_state_dict") else f"{name}.{key}")
    elif isinstance(tree, (list, tuple)):
        for number, value in enumerate(tree):
            yield from _tensors(value, f"{name}.{number}")


def _is_finite(value: Tensor) -> bool:
    return not (value.is_floating_point() or value.is_complex()) or bool(value.isfinite().all())


def _check_predictions(evaluator: Evaluator, samples: Sequence | None, where: str) -> None:
    """Refuse outputs of a batch that hold NaN or infinity: the best class of such scores means nothing."""
    bad: dict[str, list[Tensor]] = {}
    for sample in samples or ():
        for name, value in predicted_scores(sample):
            bad.setdefault(name, []).append(value.isfinite().all())
    for name, verdicts in bad.items():
        verdict = torch.stack(verdicts)
        if not verdict.all():
            metric = ", ".join(type(one).__name__ for one in evaluator.metrics)
            raise ValueError(
                f"{metric} cannot score the model's outputs: {int((~verdict).sum())} of {len(verdict)} samples of "
                f"{where} have NaN or infinite values in {name}. The weights have diverged or do not suit the data's "
                "range; no score was computed"
            )


def predicted_scores(sample: Any) -> Iterator[tuple[str, Tensor]]:
    """Floating-point fields of a prediction, also of nested ones; those of the truth are left out."""
    if not isinstance(sample, BaseDataElement):
        return
    for name, value in sample.items():
        if isinstance(value, BaseDataElement):
            yield from ((f"{name}.{inner}", one) for inner, one in predicted_scores(value))
        elif isinstance(value, Tensor) and value.is_floating_point() and name in _SCORES:
            yield name, value


# Where the heads of mmpretrain, of mmseg (`data` of maps), and our segmentor keep what tells a number from NaN.
_SCORES = ("pred_score", "data", "logit_range")


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model
