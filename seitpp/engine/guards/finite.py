"""The guard of finite numbers: it stops a diverged run before it saves, scores or goes on with NaN or infinity."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from seitpp.engine.accumulation import accumulated_batches
from seitpp.engine.late_scalars import is_cheap_to_read
from seitpp.engine.runs import unwrapped
from seitpp.io.checkpoint import check_finite
from seitpp.io.text import shorten
from seitpp.registry import HOOKS

_STATE_DICTS = ("state_dict", "ema_state_dict")
# Where the heads of mmpretrain, of mmseg (`data` of maps), and our segmentor keep scores in predictions.
_SCORES = ("pred_score", "data", "logit_range")


@HOOKS.register_module()
class FiniteGuardHook(Hook):
    """Stop at the first loss or weight that is NaN or infinite, and never score such predictions.

    Losses and weights are checked after each step: on a CPU at once; on a GPU by kernels whose verdicts are read every
    `interval` iterations, so that nothing waits for the device, and in any case before a validation, before a
    checkpoint is written, and at the end. Gradients may overflow, since loss scaling lets them. Loaded checkpoints
    (weights, their average, the optimizer's state on resuming) and predictions are checked, too.

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
        exempt = _infinite_buffers(unwrapped(runner.model))
        for part in (*_STATE_DICTS, *(["optimizer"] if runner._resume else [])):
            check_finite(
                dict(_tensors(checkpoint.get(part), part, exempt)),
                f"checkpoint {runner._load_from or 'to resume from'}",
            )

    def before_train(self, runner: Runner) -> None:
        """Note what to watch, and refuse weights that are not finite to begin with."""
        model = unwrapped(runner.model)
        self._exempt = _infinite_buffers(model)
        self._weights = dict(_watched(model, self._exempt))
        self._first_bad = {}
        check_finite(dict(model.named_parameters()), "the model, before the first step,")

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
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
        """Check the weights before they are scored."""
        self._read_verdict(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check all that is about to be written: weights, their average, the optimizer's state."""
        self._read_verdict(runner)
        for part in (*_STATE_DICTS, "optimizer"):
            found = _tensors(checkpoint.get(part), part, self._exempt)
            if bad := [name for name, value in found if not _is_finite(value)]:
                where = f"at {_step(runner, self._iteration)}, found before a checkpoint was written"
                self._stop(runner, f"NaN or infinite values in {shorten(bad, 4)} {where}")

    def after_train(self, runner: Runner) -> None:
        """Check the weights that the run ends with."""
        self._read_verdict(runner)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Refuse to score predictions that are not finite."""
        _check_predictions(runner.val_evaluator, outputs, f"validation batch {batch_idx + 1}")

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Refuse to score predictions that are not finite."""
        _check_predictions(runner.test_evaluator, outputs, f"test batch {batch_idx + 1}")

    def _judge(self, runner: Runner, name: str, value: Tensor) -> None:
        """Stop at a loss term, or norm of the weights (""), that is not finite; on a device note the iteration."""
        if is_cheap_to_read(value):
            if not value.isfinite().all():
                self._stop_at(runner, name, runner.iter, str(value.item()))
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
            self._stop_at(runner, name, int(first[name]), "NaN or infinite")

    def _stop_at(self, runner: Runner, name: str, iteration: int, value: str) -> None:
        step = _step(runner, iteration)
        if name:
            self._stop(runner, f"the loss term {name!r} is {value} at {step}")
        bad = [name for name, weight in self._weights.items() if not _is_finite(weight)]
        self._stop(runner, f"NaN or infinite weights in {shorten(bad, 4)} after {step}")

    @staticmethod
    def _stop(runner: Runner, what: str) -> None:
        last = find_latest_checkpoint(runner.work_dir)
        kept = f"the last checkpoint from before is {last}" if last else "no checkpoint was written before"
        raise ValueError(
            f"training diverged: {what}. The run was stopped and nothing was saved since; {kept}. Lower the rate "
            "(optim_wrapper.optimizer.lr), warm up for longer, or clip gradients (optim_wrapper.clip_grad=dict("
            "max_norm=1.0)); in float16 train in bfloat16 instead (--amp). --resume keeps the rate of the checkpoint: "
            "to go on with another, start from its weights (load_from)"
        )


def _step(runner: Runner, iteration: int) -> str:
    """Return the step of an iteration in words, both counted from 1; several batches may make a step."""
    batches = accumulated_batches(runner)
    step = f"step {iteration // batches + 1}"
    return step if batches == 1 else f"{step} (iteration {iteration + 1}, {batches} to a step)"


def _infinite_buffers(model: nn.Module) -> set[str]:
    """Return the names of buffers that are infinite by design, such as a mask that is added to logits."""
    return {name for name, value in model.named_buffers() if not _is_finite(value)}


def _watched(model: nn.Module, exempt: set[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield weights that training changes, and buffers that are saved."""
    for name, value in model.named_parameters():
        if value.requires_grad and value.numel():
            yield name, value.detach()
    for prefix, module in model.named_modules():
        for key, value in module.named_buffers(prefix, recurse=False):
            is_saved = key.rpartition(".")[2] not in module._non_persistent_buffers_set
            if is_saved and key not in exempt and value.is_floating_point() and value.numel():
                yield key, value


def _tensors(tree: Any, name: str, exempt: set[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield tensors in a tree of dicts and lists by their names, those of a state dict by its own, but for some."""
    if isinstance(tree, Tensor):
        if name.removeprefix("module.") not in exempt:  # as an average or DDP names it
            yield name, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _tensors(value, key if name in _STATE_DICTS else f"{name}.{key}", exempt)
    elif isinstance(tree, (list, tuple)):
        for number, value in enumerate(tree):
            yield from _tensors(value, f"{name}.{number}", exempt)


def _is_finite(value: Tensor) -> bool:
    return not (value.is_floating_point() or value.is_complex()) or bool(value.isfinite().all())


def _check_predictions(evaluator: Evaluator, samples: Sequence | None, where: str) -> None:
    """Refuse outputs of a batch that hold NaN or infinity: the best class of such scores means nothing."""
    verdicts: dict[str, list[Tensor]] = {}
    for sample in samples or ():
        for name, value in predicted_scores(sample):
            verdicts.setdefault(name, []).append(value.isfinite().all())
    for name, found in verdicts.items():
        finite = torch.stack(found)
        if not finite.all():
            metric = ", ".join(type(one).__name__ for one in evaluator.metrics)
            raise ValueError(
                f"{metric} cannot score the model's outputs: {int((~finite).sum())} of {len(finite)} samples of "
                f"{where} have NaN or infinite values in {name}. The weights have diverged or do not suit the data's "
                "range; no score was computed"
            )


def predicted_scores(sample: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield floating-point scores of a prediction by name, also of nested ones."""
    if not isinstance(sample, BaseDataElement):
        return
    for name, value in sample.items():
        if isinstance(value, BaseDataElement):
            yield from ((f"{name}.{inner}", one) for inner, one in predicted_scores(value))
        elif isinstance(value, Tensor) and value.is_floating_point() and name in _SCORES:
            yield name, value
