"""What a config's schedules will do, iteration by iteration, without its data or weights.

Parameter groups are those that the config's optimizers would have, rates those that mmengine's schedulers give them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import ParamSchedulerHook
from mmengine.logging import MMLogger
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

from seitpp.engine.config_checks import name_and_scope
from seitpp.io.progress import progress_bar
from seitpp.registry import DATASETS, MODELS, PARAM_SCHEDULERS

# Names of a group's values in tables and curves.
VALUES = ("lr", "momentum", "weight_decay")


@dataclass(frozen=True)
class GroupSchedule:
    """Values of the parameter groups of a run that are scheduled alike.

    `values` has, by name of `VALUES`, one per iteration, (N,); what an optimizer does not have is left out.
    """

    optimizer: str
    num_tensors: int
    num_parameters: int
    values: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SchedulePreview:
    """Groups in the order of their first parameter, and the iterations of an epoch; None in a run by iteration."""

    groups: list[GroupSchedule]
    epoch_length: int | None


def preview_schedule(config: Config, dataset_size: int | None = None, processes: int = 1) -> SchedulePreview:
    """Run a config's schedules, as training would: `scale_lr` and `use_whole_steps` come before, as in training.

    Args:
        config: A config of a run.
        dataset_size: Training samples; by default those of the config's data set, which must then be there.
        processes: Of the run, over which an epoch is divided.

    Raises:
        ValueError: The config trains nothing, or its data set is needed and not there.
    """
    loop = config.train_cfg
    by_epoch = loop.get("max_epochs") is not None and loop.get("by_epoch", True)
    needs_length = by_epoch or any(_by_epoch(one) for one in _schedules(config.get("param_scheduler")))
    epoch_length = _epoch_length(config, dataset_size, processes) if needs_length else 1
    total = loop.max_epochs * epoch_length if by_epoch else loop.max_iters
    with DefaultScope.overwrite_default_scope(config.get("default_scope")):
        wrapper = _optimizers_of(config)
        wrappers = dict(wrapper.items()) if isinstance(wrapper, OptimWrapperDict) else {"": wrapper}
        merged = {name: _merge_groups(one.optimizer) for name, one in wrappers.items()}
        given = config.get("param_scheduler")
        ends = {True: loop.get("max_epochs"), False: total}
        schedulers = {}
        for name, one in wrappers.items():
            own = given[name] if isinstance(given, dict) and "type" not in given else given
            schedulers[name] = [_build(part, one, epoch_length, ends) for part in _schedules(own)]
    values = _run(wrappers, schedulers, total, epoch_length)
    groups = [
        GroupSchedule(name or type(one.optimizer).__name__, *counts, series)
        for name, one in wrappers.items()
        for counts, series in zip(merged[name], values[name], strict=True)
    ]
    return SchedulePreview(groups, epoch_length if by_epoch else None)


def _schedules(given: Any) -> list[dict]:
    if not given:
        return []
    if isinstance(given, dict):
        return [given] if "type" in given else [one for part in given.values() for one in _schedules(part)]
    return list(given)


def _by_epoch(schedule: Mapping) -> bool:
    return schedule.get("by_epoch", True)


def _epoch_length(config: Config, dataset_size: int | None, processes: int) -> int:
    """Return the batches of an epoch on each process, as mmengine's samplers and loaders count them."""
    loader = config.train_dataloader
    size = _dataset_size(loader.dataset, config.get("default_scope")) if dataset_size is None else dataset_size
    batch = loader.get("batch_size") or (loader.get("batch_sampler") or {}).get("batch_size")
    sampler = loader.get("sampler") or {}
    if name_and_scope(sampler)[0] == "WholeStepSampler":
        own = size // sampler.samples_per_step * sampler.samples_per_step // processes
    else:
        own = -(-size // processes) if sampler.get("round_up", True) else size // processes
    length = own // batch if loader.get("drop_last", False) else -(-own // batch)
    if length < 1:
        raise ValueError(
            f"{size} training samples do not fill one batch of {batch} on {processes} processes; lower "
            "train_dataloader.batch_size, or give another --dataset-size"
        )
    return length


def _dataset_size(dataset: Mapping, scope: str | None) -> int:
    try:
        with DefaultScope.overwrite_default_scope(scope):
            return len(DATASETS.build(dataset))
    except (OSError, ValueError) as error:
        raise ValueError(f"the training data cannot be counted ({error}); give --dataset-size") from error


def _optimizers_of(config: Config) -> Any:
    """Build the optimizers over a network without values, whose data preprocessor is left out."""
    model = {**config.model, "data_preprocessor": BaseDataPreprocessor()}
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")  # constructors name each parameter
    try:
        with torch.device("meta"):
            return build_optim_wrapper(MODELS.build(model), config.optim_wrapper)
    finally:
        logger.setLevel(level)


def _merge_groups(optimizer: torch.optim.Optimizer) -> list[tuple[int, int]]:
    """Leave one group, of one small parameter, for all that have the same values; return their tensors and sizes."""
    found: dict[tuple, list[dict]] = {}
    for group in optimizer.param_groups:
        found.setdefault(tuple(_values(group).items()), []).append(group)
    counts = []
    for groups in found.values():
        tensors = [tensor for group in groups for tensor in group["params"]]
        counts.append((len(tensors), sum(tensor.numel() for tensor in tensors)))
    optimizer.param_groups[:] = [{**same[0], "params": [nn.Parameter(torch.zeros(1))]} for same in found.values()]
    return counts


def _values(group: Mapping) -> dict[str, float]:
    momentum = group.get("momentum", group.get("betas", (None,))[0])
    values = (group["lr"], momentum, group.get("weight_decay"))
    return {name: float(value) for name, value in zip(VALUES, values, strict=True) if value is not None}


def _build(schedule: Mapping, wrapper: Any, epoch_length: int, ends: Mapping[bool, int | None]) -> Any:
    options = {**schedule}
    options.setdefault("end", ends[_by_epoch(schedule)])
    return PARAM_SCHEDULERS.build(options, default_args={"optimizer": wrapper, "epoch_length": epoch_length})


def _run(
    wrappers: Mapping[str, Any], schedulers: Mapping[str, Sequence[Any]], total: int, epoch_length: int
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Return the values of each group of each optimizer in every iteration."""
    hook, runner = ParamSchedulerHook(), SimpleNamespace(param_schedulers=dict(schedulers))
    series = {
        name: [{key: np.empty(total) for key in _values(group)} for group in one.optimizer.param_groups]
        for name, one in wrappers.items()
    }
    for one in wrappers.values():
        one.step()  # without gradients: schedulers warn where they step first
    with progress_bar("running the schedule", unit="iterations") as progress:
        for iteration in range(total):
            for kept, group in _pairs(wrappers, series):
                for key, value in _values(group).items():
                    kept[key][iteration] = value
            hook.after_train_iter(runner, iteration)
            if (iteration + 1) % epoch_length == 0:
                hook.after_train_epoch(runner)
            if iteration % 1000 == 999:
                progress(iteration + 1, total)
    return series


def _pairs(wrappers: Mapping[str, Any], series: Mapping[str, list]) -> Iterator[tuple[dict, dict]]:
    for name, one in wrappers.items():
        yield from zip(series[name], one.optimizer.param_groups, strict=True)
