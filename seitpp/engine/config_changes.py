"""What a run changes in its config before a runner is built: precision, rates, steps, guards, loaders."""

from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from seitpp.engine.config_checks import name_and_scope
from seitpp.io.config_file import dicts_in

_LIBRARIES = ("", "mmengine", "mmpretrain", "mmseg")  # packages of the classes that ours replace
# Hooks of mmengine and mmpretrain, and ours that do the same and lose or invent nothing.
_REPLACED_HOOKS = {
    "CheckpointHook": "seitpp.WholeCheckpointHook",
    "EMAHook": "seitpp.StepEMAHook",
    "RuntimeInfoHook": "seitpp.RuntimeInfoHook",
}
# What mmengine would add by itself, and the guards that every run has.
_ADDED_HOOKS: dict[str, dict[str, Any]] = {
    "runtime_info": {"type": "seitpp.RuntimeInfoHook"},
    "checkpoint": {"type": "seitpp.WholeCheckpointHook", "interval": 1},
    "summary": {"type": "seitpp.RunSummaryHook"},
    "finite_guard": {"type": "seitpp.FiniteGuardHook"},
    # Not as strict as in our recipes: other projects may load a part of the weights on purpose.
    "checkpoint_guard": {"type": "seitpp.CheckpointGuardHook", "strict": False},
}
# Hooks that mmengine adds by itself.
_OF_MMENGINE = ("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint")


def use_autocast(config: Config) -> None:
    """Switch the optimizer wrapper to bfloat16 autocast, which runs on CPU and GPU."""
    current = name_and_scope({"type": "OptimWrapper", **config.optim_wrapper})[0]
    if current not in ("OptimWrapper", "LateOptimWrapper", "AutocastOptimWrapper"):
        raise ValueError(
            f"--amp replaces a plain OptimWrapper, but the config's optim_wrapper is a {config.optim_wrapper.type}"
        )
    config.optim_wrapper.type = "seitpp.AutocastOptimWrapper"


def scale_lr(config: Config, world_size: int) -> None:
    """Let the learning rate follow the samples of a step: processes x batch x accumulated batches.

    mmengine's own scaling leaves accumulation out. The rule is linear, or with `rule="sqrt"` the square root.
    Changes `config` and switches `auto_scale_lr` off, so that mmengine does not scale again.
    """
    options = config.get("auto_scale_lr")
    if not options or not options.get("enable"):
        return
    rule, base = options.get("rule", "linear"), options.get("base_batch_size")
    if rule not in ("linear", "sqrt"):
        raise ValueError(f"auto_scale_lr.rule must be 'linear' or 'sqrt', got {rule!r}")
    if not isinstance(base, int) or base < 1:
        raise ValueError(f"auto_scale_lr.base_batch_size must be a number of samples from 1, got {base!r}")
    before = (config.optim_wrapper.get("optimizer") or {}).get("lr")
    if before is None:
        raise ValueError(
            "auto_scale_lr scales optim_wrapper.optimizer.lr, which the config does not set; set it, or switch the "
            "scaling off with auto_scale_lr.enable=False"
        )
    batch, accumulated = _batch_size(config), config.optim_wrapper.get("accumulative_counts", 1)
    samples = world_size * batch * accumulated
    ratio = samples / base
    config.optim_wrapper.optimizer.lr = scaled = before * (ratio if rule == "linear" else ratio**0.5)
    config.auto_scale_lr = ConfigDict(enable=False, base_batch_size=base)
    print_log(
        f"Learning rate {before:g} is for {base} samples per step; this run has {samples} ({world_size} processes x "
        f"{batch} x {accumulated} accumulated), {rule} rule: {scaled:g}.",
        "current",
    )


def _batch_size(config: Config) -> int:
    loader = config.train_dataloader
    size = loader.get("batch_size") or (loader.get("batch_sampler") or {}).get("batch_size")
    if not isinstance(size, int):
        raise ValueError(
            f"the samples of a step are counted from train_dataloader.batch_size, which is {size!r}; set it, or use "
            "neither accumulation nor auto_scale_lr"
        )
    return size


def use_whole_steps(config: Config, world_size: int) -> None:
    """Where batches are accumulated, let everything count whole optimizer steps.

    Epochs are cut to such steps (`WholeStepSampler`); a run by iteration counts steps in place of batches
    (`StepTrainLoop`).
    """
    accumulated = config.optim_wrapper.get("accumulative_counts", 1)
    if accumulated == 1:
        return
    loop = config.get("train_cfg") or ConfigDict()
    name, scope = name_and_scope(loop)
    if (name == "IterBasedTrainLoop" and scope in _LIBRARIES) or loop.get("by_epoch", True) is False:
        loop.pop("by_epoch", None)
        loop.type = "seitpp.StepTrainLoop"
    elif name != "StepTrainLoop":
        _check_counts(config, accumulated)
    sampler = config.train_dataloader.get("sampler") or {}
    if name_and_scope(sampler)[0] == "DefaultSampler":
        config.train_dataloader.sampler = ConfigDict(
            type="seitpp.WholeStepSampler",
            samples_per_step=world_size * _batch_size(config) * accumulated,
            shuffle=sampler.get("shuffle", True),
        )


def _check_counts(config: Config, accumulated: int) -> None:
    """Refuse what counts batches in a run by epoch, in which several make a step."""
    schedules = config.get("param_scheduler") or []
    for number, schedule in enumerate([schedules] if isinstance(schedules, dict) else schedules):
        if not schedule.get("by_epoch", True):
            end = schedule.get("end", schedule.get("T_max"))
            length = "" if end is None else f" {end} of which are {end / accumulated:g} steps;"
            raise ValueError(
                f"param_scheduler.{number} ({schedule.get('type')}) counts iterations, and with accumulative_counts="
                f"{accumulated} there are {accumulated} to a step:{length} give it in epochs, with by_epoch=True and "
                "convert_to_iter_based=True"
            )
    hook = (config.get("default_hooks") or {}).get("checkpoint") or {}
    interval = hook.get("interval", -1)
    if not hook.get("by_epoch", True) and interval > 0 and interval % accumulated:
        raise ValueError(
            f"default_hooks.checkpoint.interval={interval} counts iterations, of which accumulative_counts="
            f"{accumulated} make a step: a checkpoint inside a step would lose gradients. Write a multiple of "
            f"{accumulated}, such as {interval * accumulated} for {interval} steps"
        )


def use_guards(config: Config) -> None:
    """Let any config write checkpoints whole, average by steps, and stop at losses or weights that are not finite.

    Replaces plain hooks of the libraries by ours, which take the same options, and adds what is not there. An entry
    that is None, such as `default_hooks.finite_guard=None` or one of `custom_hooks`, leaves a hook out.
    """
    hooks = dict(config.get("default_hooks") or {})
    custom = [hook for hook in config.get("custom_hooks") or [] if hook is not None]
    for hook in (*hooks.values(), *custom):
        name, scope = name_and_scope(hook)
        if name in _REPLACED_HOOKS and scope in _LIBRARIES:
            hook["type"] = _REPLACED_HOOKS[name]
    types = {name_and_scope(hook)[0] for hook in (*hooks.values(), *custom)}
    for name, hook in _ADDED_HOOKS.items():
        if name not in hooks and hook["type"].split(".")[-1] not in types:
            hooks[name] = hook
    # mmengine takes None only for a hook that it would add by itself.
    config.default_hooks = {name: hook for name, hook in hooks.items() if hook is not None or name in _OF_MMENGINE}
    if config.get("custom_hooks"):
        config.custom_hooks = custom
    wrapper = config.get("optim_wrapper")
    if wrapper is not None:
        name, scope = name_and_scope({"type": "OptimWrapper", **wrapper})
        if name == "OptimWrapper" and scope in _LIBRARIES:
            wrapper["type"] = "seitpp.OptimWrapper"


def fit_loaders(config: Config) -> None:
    """Switch off `pin_memory` without a GPU or for data on it, and refuse worker processes for such data."""
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = config.get(name)
        if not isinstance(loader, dict):
            continue
        devices = {str(part.get("device")).split(":")[0] for part in dicts_in(loader.get("dataset"))}
        if devices & {"cuda", "pinned"} and loader.get("num_workers", 0):
            raise ValueError(
                f"{name}.num_workers is {loader['num_workers']}, but its data lie in the memory of a GPU, or "
                "page-locked (dataset.device), where worker processes cannot fetch them; set num_workers=0 and "
                "persistent_workers=False"
            )
        if "cuda" in devices or not torch.cuda.is_available():
            loader["pin_memory"] = False
