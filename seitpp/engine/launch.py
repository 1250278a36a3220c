"""From a config file and command-line options to a runner, the same for training and testing, CPU and GPU."""

import argparse
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from seitpp.engine.compiling import use_compile
from seitpp.engine.config_changes import fit_loaders, use_guards
from seitpp.engine.launchers import LAUNCHERS, check_launcher, rank_of, start_processes
from seitpp.engine.optim_wrapper import check_fused
from seitpp.engine.recipe_options import Stores, default_work_dir, read_recipe
from seitpp.engine.run_summary import SummaryFirst
from seitpp.engine.sharding import check_sharding
from seitpp.engine.weight_files import find_checkpoints
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.config_options import add_options_argument, check_read_keys
from seitpp.io.locks import FolderLock

_PATIENCE_SECONDS = 15.0
# Lines that mmengine's own checkpoint hook logs at every start and that call for nothing.
_KNOWN_NOISE = re.compile(r'"FileClient" will be deprecated|"HardDiskBackend" is the alias')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that OpenMMLab's train and test tools share."""
    parser.add_argument("--work-dir", help="folder for logs and checkpoints; work_dirs/<config name> by default")
    add_options_argument(parser)
    parser.add_argument("--launcher", choices=("none", *LAUNCHERS), default="none", help="job launcher")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace, stores: Stores = (None, None)) -> Config:
    """Read the config and apply the shared options; sets the environment that the launcher needs.

    Args:
        args: What `add_common_arguments` parsed, and for training `add_subset_arguments`.
        stores: Stores for training and validation in place of the config's, whose sizes it takes (`use_stores`).
    """
    check_launcher(args.launcher)
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    forbid_pickled_code()
    if "launcher" in (args.cfg_options or {}):
        raise ValueError("--cfg-options launcher: the launcher is an option of its own; use --launcher")
    config = read_recipe(args, stores, lambda note: print_log(note, "current"))
    config.work_dir = default_work_dir(config, args)
    check_read_keys(config)
    find_checkpoints(config)
    config.launcher = args.launcher
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    return config


@contextmanager
def alone_in(folder: str | Path, launcher: str) -> Iterator[None]:
    """Keep other runs out of a work folder, where their checkpoints would have the same names."""
    lock = None
    if rank_of(launcher) == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        try:
            lock = FolderLock(Path(folder), "work folder", _PATIENCE_SECONDS)
        except BlockingIOError:
            raise
        except OSError as error:  # a file system without locks
            print_log(f"{error}: no other run is kept out", "current")
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


class _KeepsConfig:
    """Goes before a class of runners: a config that is in the work folder, which may be the training's, stays there."""

    cfg: Config
    timestamp: str
    log_dir: str
    work_dir: str

    @master_only
    def dump_config(self) -> None:
        name = Path(self.cfg.filename or f"{self.timestamp}.py").name
        folder = self.log_dir if Path(self.work_dir, name).exists() else self.work_dir
        self.cfg.dump(Path(folder, name))


def build_runner(config: Config, *, only_tests: bool = False) -> Runner:
    """Build the runner of a prepared config.

    Args:
        config: Is written to the work folder, as mmengine does.
        only_tests: Whether a config of that name which is there is kept, for a training wrote it; this one then goes
            beside its log.
    """
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message="Default ``avg_non_ignore`` is False")  # where a config says so
    check_sharding(config)
    use_guards(config)
    use_compile(config)
    check_fused(config)
    start_processes(config)
    fit_loaders(config)
    named = config.get("runner_type", "Runner")
    kind = RUNNERS.get(named) if isinstance(named, str) else named
    if kind is None:
        raise ValueError(f"runner_type is {named!r}, which is no registered runner")
    parts = (SummaryFirst, _KeepsConfig, kind) if only_tests else (SummaryFirst, kind)
    with_summary: type[Runner] = type(kind.__name__, parts, {})
    runner = with_summary.from_cfg(config)
    for handler in runner.logger.handlers:
        handler.addFilter(_is_worth_reading)
    return runner


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return not _KNOWN_NOISE.search(record.getMessage())
