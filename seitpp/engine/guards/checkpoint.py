"""The guard of checkpoints: weights that fit the model, and resuming with the batch and progress that were saved."""

import math

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed.fsdp import FullyShardedDataParallel

from seitpp.engine.accumulation import accumulated_batches
from seitpp.engine.resuming import check_resumable, schedules_in_a_row
from seitpp.engine.runs import unwrapped
from seitpp.io.checkpoint import check_state_dict
from seitpp.io.text import shorten
from seitpp.registry import HOOKS

# A parameter group's settings, by their names in a config.
_SETTINGS = {"initial_lr": "lr", "weight_decay": "weight_decay", "betas": "betas", "momentum": "momentum"}
# Which kernels the optimizer uses: the config's choice, also on resuming.
_KERNELS = ("fused", "foreach")
_OTHER_SIZES = (
    "If its training had other sizes than this config: name the store that it was trained on with --store, or give the "
    "config of its work folder"
)
_SCHEDULE = ("begin", "end", "warmup", "start_ratio", "eta_min_ratio")


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Refuse checkpoints that do not fit, and resuming with another batch, which would bend the schedule.

    Args:
        strict: Whether a loaded checkpoint must hold exactly the model's weights.
    """

    priority = "VERY_HIGH"

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record how many processes and samples make a step."""
        checkpoint["meta"].update(
            world_size=get_world_size(),
            accumulative_counts=_accumulated(runner),
            iterations_per_step=accumulated_batches(runner),
            samples_per_step=_samples_per_step(runner),
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes with the model and, on resuming, the batch with the one before."""
        source = str(runner._load_from or "to resume from")
        if not isinstance(checkpoint, dict):
            raise ValueError(f"checkpoint {source} holds a {type(checkpoint).__name__}, expected a dict of weights")
        # On resuming, mmengine would run this text as Python, only to look for a key that no config of today has.
        (checkpoint.get("meta") or {}).pop("config", None)
        if self.strict:
            self._check_weights(runner, checkpoint, source)
        if not runner._resume:
            return
        if "optimizer" not in checkpoint or "epoch" not in (checkpoint.get("meta") or {}):
            raise ValueError(
                f"checkpoint {source} holds weights only and no training can be resumed from it; start from it "
                "with --cfg-options load_from=..."
            )
        check_resumable(checkpoint, source)
        _check_batch(runner, checkpoint["meta"])
        _tell_schedule(runner, checkpoint)
        _compare_optimizer(runner, checkpoint)

    @staticmethod
    def _check_weights(runner: Runner, checkpoint: dict, source: str) -> None:
        if "state_dict" not in checkpoint:
            raise ValueError(f"checkpoint {source} has no state_dict; convert it with tools/convert_checkpoint.py")
        is_sharded = isinstance(runner.model, FullyShardedDataParallel)  # its parts have no state of their own
        expected = (runner.model if is_sharded else unwrapped(runner.model)).state_dict()
        options = {
            "may_miss": [name for name in expected if name.startswith("data_preprocessor.")],
            # A resumed run has the optimizer's state of its positions, which cannot be resized.
            "resizable": [name for name in expected if name.endswith("backbone.pos_embed") and not runner._resume],
        }
        # An EMA hook would keep what the average misses as it was initialised.
        for part, where in (("state_dict", source), ("ema_state_dict", f"{source} (its ema_state_dict)")):
            if checkpoint.get(part) is not None:
                found = {name.removeprefix("module."): value for name, value in checkpoint[part].items()}
                if part == "ema_state_dict":
                    found.pop("steps", None)
                check_state_dict(found, expected, where, advice="" if runner._resume else _OTHER_SIZES, **options)


def _accumulated(runner: Runner) -> int:
    return getattr(runner.optim_wrapper, "_accumulative_counts", 1)


def _samples_per_step(runner: Runner) -> int | None:
    """Return the samples of a step; None where a batch sampler makes batches of any size."""
    loader = runner.train_dataloader
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None)
    return None if size is None else size * _accumulated(runner) * get_world_size()


def _check_batch(runner: Runner, meta: dict) -> None:
    """Refuse to resume with other samples or iterations per step, by which schedules count."""
    before, now = meta.get("samples_per_step"), _samples_per_step(runner)
    accumulated_before, accumulated_now = meta.get("accumulative_counts", 1), _accumulated(runner)
    world_before, world_now = meta.get("world_size"), get_world_size()
    # Earlier versions made an iteration of each batch, whatever the loop.
    per_step = meta.get("iterations_per_step", accumulated_before)
    if now is None:
        return
    if before is None:
        runner.logger.warning(
            f"The checkpoint does not say how many samples made a step; this run has {now}. If it was another "
            "number, the learning-rate schedule does not fit."
        )
    elif (before, accumulated_before) == (now, accumulated_now) and per_step != accumulated_batches(runner):
        raise ValueError(
            f"the checkpoint counts {meta.get('iter')} iterations, {per_step} to a step of {before} samples, and "
            f"this run {accumulated_batches(runner)} to a step: its schedule would not fit. Resume with the old "
            "train_cfg.type, or start from the weights with load_from=..."
        )
    elif (before, per_step) != (now, accumulated_batches(runner)):
        raise ValueError(
            f"the checkpoint was trained with {before} samples per step ({accumulated_before} accumulated batches) "
            f"on {world_before} processes, this run has {now} ({accumulated_now}) on {world_now}: iterations per "
            "epoch and with them the learning-rate schedule would no longer fit. Resume with the old world size, or "
            f"set train_dataloader.batch_size so that a step has {before} samples in {accumulated_before} accumulated "
            "batches again"
        )
    elif world_before != world_now:
        runner.logger.warning(
            f"The world size changed from {world_before} to {world_now} processes since the checkpoint. A step "
            f"still has {now} samples, so the schedule holds, but masks and augmentations are drawn for each rank: "
            "the run continues correctly, but not bit for bit."
        )


def _tell_schedule(runner: Runner, checkpoint: dict) -> None:
    """Log where the config's schedule differs from the checkpoint's, with which mmengine goes on."""
    pairs = zip(
        schedules_in_a_row(checkpoint.get("param_schedulers")),
        schedules_in_a_row(runner.param_schedulers),
        strict=False,
    )
    changed = [
        f"{key} {old[key]} (config: {getattr(new, key)})"
        for old, new in pairs
        for key in _SCHEDULE
        if key in old and hasattr(new, key) and old[key] != getattr(new, key)
    ]
    if changed:
        runner.logger.warning(
            f"Resuming keeps the checkpoint's learning-rate schedule: {', '.join(changed)}, in iterations. For the "
            "config's schedule start anew from the weights, with --cfg-options load_from=..."
        )


def _compare_optimizer(runner: Runner, checkpoint: dict) -> None:
    """Take the config's kernels; log where its other settings differ from the checkpoint's, which mmengine takes."""
    before, now = checkpoint["optimizer"], runner.optim_wrapper
    pairs = [(before.get(name), one) for name, one in now.items()] if isinstance(now, dict) else [(before, now)]
    changed: dict[str, None] = {}  # each once, in order
    for state, wrapper in pairs:
        groups = getattr(getattr(wrapper, "optimizer", None), "param_groups", [])
        for old, new in zip((state or {}).get("param_groups", []), groups, strict=False):
            old.update({key: new[key] for key in _KERNELS if key in new})
            for key in _SETTINGS.keys() & old.keys() & new.keys():
                if _differs(old[key], new[key]):
                    changed[f"{_SETTINGS[key]} {old[key]} (config: {new[key]})"] = None
    if changed:
        runner.logger.warning(
            f"Resuming keeps the checkpoint's optimizer settings: {shorten(changed, 4)}. For the config's start "
            "anew from the weights, with --cfg-options load_from=..."
        )


def _differs(old: object, new: object) -> bool:
    """Return whether two settings differ by more than the last digit, be they lists (of a file) or tuples."""
    one, two = (list(value) if isinstance(value, (list, tuple)) else [value] for value in (old, new))
    numbers = all(isinstance(value, (int, float)) for value in (*one, *two))
    return one != two and not (numbers and len(one) == len(two) and all(map(math.isclose, one, two)))
