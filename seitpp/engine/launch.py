"""From a config file and command-line options to a runner, the same for training and testing, CPU and GPU."""

import argparse
import logging
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from seitpp.engine.checkpointing import newest_checkpoint
from seitpp.engine.compiling import use_compile
from seitpp.engine.config_checks import check_launcher, name_and_scope
from seitpp.engine.loaders import fit_loaders
from seitpp.engine.optim_wrapper import check_fused
from seitpp.engine.sharding import check_sharding
from seitpp.engine.store_sizes import use_stores
from seitpp.engine.subset_options import use_subset
from seitpp.engine.weight_files import find_checkpoints, use_token_adapt
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.config_file import read_config
from seitpp.io.config_options import add_options_argument, apply_options, check_read_keys
from seitpp.io.locks import FolderLock

_PATIENCE_SECONDS = 15.0
_LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that OpenMMLab's train and test tools share."""
    parser.add_argument("--work-dir", help="folder for logs and checkpoints; work_dirs/<config name> by default")
    add_options_argument(parser)
    parser.add_argument("--launcher", choices=_LAUNCHERS, default="none", help="job launcher")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace, stores: tuple[str | None, str | None] = (None, None)) -> Config:
    """Read the config and apply the shared options; sets the environment that the launcher needs.

    Args:
        args: What `add_common_arguments` parsed, and for training `add_subset_arguments`.
        stores: Stores for training and validation in place of the config's, whose sizes it takes (`use_stores`).
    """
    check_launcher(args.launcher)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    forbid_pickled_code()
    config = read_config(args.config)
    if stores[0] is not None:
        use_stores(config, *stores)
    suffix = use_subset(config, args) if hasattr(args, "fraction") else ""
    if getattr(args, "token_adapt", None) is not None:
        use_token_adapt(config, args.token_adapt)
    if "launcher" in (args.cfg_options or {}):
        raise ValueError("--cfg-options launcher: the launcher is an option of its own; use --launcher")
    apply_options(config, args.cfg_options)
    check_read_keys(config)
    find_checkpoints(config)
    config.launcher = args.launcher
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get("work_dir") is None:
        config.work_dir = str(Path("work_dirs") / (Path(args.config).stem + suffix))
    return config


def use_autocast(config: Config) -> None:
    """Switch the optimizer wrapper to bfloat16 autocast, which runs on CPU and GPU."""
    current = name_and_scope({"type": "OptimWrapper", **config.optim_wrapper})[0]
    if current not in ("OptimWrapper", "LateOptimWrapper", "AutocastOptimWrapper"):
        raise ValueError(
            f"--amp replaces a plain OptimWrapper, but the config's optim_wrapper is a {config.optim_wrapper.type}"
        )
    config.optim_wrapper.type = "seitpp.AutocastOptimWrapper"


def world_size_of(launcher: str) -> int:
    """Processes that the launcher started, from its environment."""
    if launcher == "none":
        return 1
    names = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}
    return int(os.environ.get(names[launcher], 1))


@contextmanager
def alone_in(folder: str | Path, launcher: str) -> Iterator[None]:
    """Keep other runs out of a work folder, as far as its file system has locks; their checkpoints have the same names.

    Raises:
        BlockingIOError: Another run is at work there.
    """
    names = {"pytorch": "RANK", "slurm": "SLURM_PROCID", "mpi": "OMPI_COMM_WORLD_RANK"}
    lock = None
    if int(os.environ.get(names.get(launcher, ""), 0)) == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        try:
            lock = FolderLock(Path(folder), "work folder", _PATIENCE_SECONDS)
        except BlockingIOError:
            raise
        except OSError as error:
            print_log(f"{error}: no other run is kept out", "current")
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def scale_lr(config: Config, world_size: int) -> None:
    """Let the learning rate follow the samples of a step: processes x batch x accumulated batches.

    mmengine's own scaling leaves accumulation out. The rule is linear, or with `rule="sqrt"` the square root.
    Changes `config` and switches `auto_scale_lr` off, so that mmengine does not scale again.
    """
    options = config.get("auto_scale_lr")
    if not options or not options.get("enable"):
        return
    rule = options.get("rule", "linear")
    if rule not in ("linear", "sqrt"):
        raise ValueError(f"auto_scale_lr.rule must be 'linear' or 'sqrt', got {rule!r}")
    base = options.get("base_batch_size")
    if not isinstance(base, int) or base < 1:
        raise ValueError(f"auto_scale_lr.base_batch_size must be a number of samples from 1, got {base!r}")
    before = (config.optim_wrapper.get("optimizer") or {}).get("lr")
    if before is None:
        raise ValueError(
            "auto_scale_lr scales optim_wrapper.optimizer.lr, which the config does not set; set it, or switch the "
            "scaling off with auto_scale_lr.enable=False"
        )
    accumulated = config.optim_wrapper.get("accumulative_counts", 1)
    samples = world_size * _batch_size(config) * accumulated
    ratio = samples / base
    factor = ratio if rule == "linear" else ratio**0.5
    config.optim_wrapper.optimizer.lr = before * factor
    config.auto_scale_lr = ConfigDict(enable=False, base_batch_size=base)
    message = (
        f"Learning rate {before:g} is for {base} samples per step; this run has {samples} "
        f"({world_size} processes x {_batch_size(config)} x {accumulated} accumulated), {rule} rule: "
        f"{before * factor:g}."
    )
    print_log(message, logger="current")


def _batch_size(config: Config) -> int:
    """Samples of a batch of one process."""
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

    Raises:
        ValueError: In a run by epoch, a schedule or the checkpoint hook counts batches.
    """
    accumulated = config.optim_wrapper.get("accumulative_counts", 1)
    if accumulated == 1:
        return
    loop = config.get("train_cfg") or ConfigDict()
    name, scope = name_and_scope(loop)
    if (name == "IterBasedTrainLoop" and scope in _REPLACED_SCOPES) or loop.get("by_epoch", True) is False:
        loop.pop("by_epoch", None)
        loop.type = "seitpp.StepTrainLoop"
    elif name != "StepTrainLoop":
        _check_counts(config, accumulated)
    sampler = config.train_dataloader.get("sampler") or {}
    if name_and_scope(sampler)[0] != "DefaultSampler":
        return
    samples = world_size * _batch_size(config) * accumulated
    config.train_dataloader.sampler = ConfigDict(
        type="seitpp.WholeStepSampler", samples_per_step=samples, shuffle=sampler.get("shuffle", True)
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


def set_resume(config: Config, resume: str | None) -> None:
    """Apply `--resume [checkpoint]`; `auto` takes the newest checkpoint of the work folder, if there is one.

    So does `resume=True` in a config: mmengine's own way would take the folder's last note, whole or not, here or not.
    """
    if resume is None and config.get("resume") and config.get("load_from") is None:
        resume = "auto"
    if resume is None:
        return
    config.resume = True
    config.load_from = newest_checkpoint(config.work_dir) if resume == "auto" else resume
    if config.load_from is None:  # a first start with the same line
        config.resume = False
        print_log(f"No checkpoint to resume in {config.work_dir}: training starts from the beginning.", "current")


def prepare_processes(config: Config) -> None:
    """Start the process group on machines without a GPU, where mmengine's own start asks for one."""
    if config.get("launcher", "none") == "none" or torch.cuda.is_available():
        return
    if config.launcher == "slurm":
        _set_slurm_environment()
    elif config.launcher == "mpi":
        _set_mpi_environment()
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    config.sync_bn = None  # which runs on GPUs alone
    given = config.get("model_wrapper_cfg") or {}
    options = {
        "broadcast_buffers": False,
        "find_unused_parameters": config.get("find_unused_parameters", False),
        **given,
    }
    config.model_wrapper_cfg = ConfigDict({**options, "type": "mmengine.MMDistributedDataParallel", "device_ids": None})


def _set_slurm_environment() -> None:
    """What torch's `env://` start reads, from what Slurm sets."""
    for name, source in (("RANK", "SLURM_PROCID"), ("WORLD_SIZE", "SLURM_NTASKS"), ("LOCAL_RANK", "SLURM_LOCALID")):
        os.environ[name] = os.environ[source]
    if "MASTER_ADDR" not in os.environ:
        hosts = subprocess.run(
            ["scontrol", "show", "hostname", os.environ["SLURM_NODELIST"]], capture_output=True, text=True, check=True
        )
        os.environ["MASTER_ADDR"] = hosts.stdout.split()[0]
    os.environ.setdefault("MASTER_PORT", "29500")


def _set_mpi_environment() -> None:
    """The same from what Open MPI sets; over several hosts MASTER_ADDR must be set."""
    for name in ("RANK", "SIZE", "LOCAL_RANK"):
        os.environ["WORLD_SIZE" if name == "SIZE" else name] = os.environ[f"OMPI_COMM_WORLD_{name}"]
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")


# mmengine's and mmpretrain's hooks, by ours that do the same and lose or invent nothing.
_REPLACED_HOOKS = {
    "CheckpointHook": "seitpp.WholeCheckpointHook",
    "EMAHook": "seitpp.StepEMAHook",
    "RuntimeInfoHook": "seitpp.RuntimeInfoHook",
}
_REPLACED_SCOPES = ("", "mmengine", "mmpretrain", "mmseg")
_PLAIN_WRAPPERS = [("OptimWrapper", scope) for scope in _REPLACED_SCOPES]
# What mmengine would add by itself, and the guards that every run has.
_ADDED_HOOKS = {
    "runtime_info": {"type": "seitpp.RuntimeInfoHook"},
    "checkpoint": {"type": "seitpp.WholeCheckpointHook", "interval": 1},
    "finite_guard": {"type": "seitpp.FiniteGuardHook"},
    # Not as strict as in our recipes: other projects may load a part of the weights on purpose.
    "checkpoint_guard": {"type": "seitpp.CheckpointGuardHook", "strict": False},
}


def use_guards(config: Config) -> None:
    """Let any config write checkpoints whole, average by steps, and stop at losses or weights that are no numbers.

    Replaces plain hooks of the libraries by ours, which take the same options, and adds what is not there. An entry
    that is None, such as `default_hooks.finite_guard=None`, leaves a hook out.
    """
    hooks, custom = dict(config.get("default_hooks") or {}), list(config.get("custom_hooks") or [])
    for hook in (*hooks.values(), *custom):
        name, scope = name_and_scope(hook)
        if name in _REPLACED_HOOKS and scope in _REPLACED_SCOPES:
            hook["type"] = _REPLACED_HOOKS[name]
    types = {name_and_scope(hook)[0] for hook in (*hooks.values(), *custom)}
    for name, hook in _ADDED_HOOKS.items():
        if name not in hooks and hook["type"].split(".")[-1] not in types:
            hooks[name] = hook
    config.default_hooks = hooks
    wrapper = config.get("optim_wrapper")
    if wrapper is not None and name_and_scope({"type": "OptimWrapper", **wrapper}) in _PLAIN_WRAPPERS:
        wrapper["type"] = "seitpp.OptimWrapper"


def build_runner(config: Config) -> Runner:
    """The runner for a prepared config."""
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message="Default ``avg_non_ignore`` is False")  # where a config says so
    check_sharding(config)
    use_guards(config)
    use_compile(config)
    check_fused(config)
    prepare_processes(config)
    fit_loaders(config)
    runner = RUNNERS.build(config) if "runner_type" in config else Runner.from_cfg(config)
    for handler in runner.logger.handlers:
        handler.addFilter(_is_worth_reading)
    return runner


# Lines that mmengine's own checkpoint hook provokes at every start and that call for nothing.
_KNOWN_NOISE = re.compile(r'"FileClient" will be deprecated|"HardDiskBackend" is the alias')


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return not _KNOWN_NOISE.search(record.getMessage())
