"""Resuming a run: which checkpoint to go on from, and what one must hold so that mmengine can."""

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor

from seitpp.io.text import shown
from seitpp.io.untrusted import entry, whole_number

_PERIODIC = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


def set_resume(config: Config, resume: str | None) -> None:
    """Apply `--resume [checkpoint]`; `auto` takes the newest checkpoint of the work folder, if there is one.

    So does `resume=True` in a config, with which mmengine would take what the folder's note names, damaged or missing.
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


def newest_checkpoint(work_dir: str) -> str | None:
    """Return the last whole checkpoint of a run; None where there is none yet, an error where all are damaged.

    mmengine notes it with an absolute path, which is wrong once the folder was moved or copied.
    """
    damaged: list[str] = []
    for path in _candidates(Path(work_dir)):
        if is_whole(path):
            if damaged:
                message = f"Passed over {', '.join(damaged)}, which is damaged or was not written to its end: {path}."
                print_log(message, "current")
            return str(path)
        if path.exists():  # and was not removed by a run at work
            damaged.append(str(path))
    if damaged and (Path(work_dir) / "last_checkpoint").is_file():
        raise ValueError(
            f"no checkpoint of {work_dir} is whole, damaged are {', '.join(damaged)}; restore one of them from a "
            "backup, or remove them to start from the beginning"
        )
    return None


def _candidates(folder: Path) -> Iterator[Path]:
    """Yield checkpoints, each once: the noted one, then the others by the numbers in their names, newest first."""
    note = folder / "last_checkpoint"
    noted = Path(note.read_bytes().decode(errors="replace").strip()) if note.is_file() else Path()
    paths = [folder / noted.name, noted]
    paths += [path for _, path in reversed(numbered_checkpoints(folder))]
    seen: set[Path] = set()
    for path in paths:
        if os.path.isfile(path) and path.resolve() not in seen:  # `Path.is_file` raises where a name is too long
            seen.add(path.resolve())
            yield path


def numbered_checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints that a run wrote on its way, each with its epoch or iteration, ascending."""
    found = [(_PERIODIC.fullmatch(path.name), path) for path in folder.glob("*.pth")]
    return sorted((int(numbered[1]), path) for numbered, path in found if numbered)


def is_whole(path: Path) -> bool:
    """Return whether a torch file is a zip archive whose parts all have their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, ValueError):
        return False


def check_resumable(checkpoint: Mapping[str, Any], source: str) -> None:
    """Refuse progress, log histories and optimizer states that no runner writes, before mmengine takes them apart."""
    source = f"checkpoint {source} is damaged or not of a run"
    meta = entry(checkpoint, "meta", dict, source)
    for key in ("epoch", "iter"):
        whole_number(meta.get(key), f"{source}: meta.{key}", 0, 2**63 - 1)
    hub = entry(checkpoint, "message_hub", dict, source)
    for key in ("log_scalars", "runtime_info", "resumed_keys"):
        entry(hub, key, dict, f"{source}: message_hub")
    optimizer = entry(checkpoint, "optimizer", dict, source)
    is_single = "param_groups" in optimizer or "state" in optimizer
    for state in [optimizer] if is_single else optimizer.values():
        _check_optimizer_state(state, f"{source}: optimizer")
    for schedule in schedules_in_a_row(checkpoint.get("param_schedulers")):
        if not isinstance(schedule, dict):
            raise ValueError(f"{source}: param_schedulers holds {shown(schedule)}, expected dicts")


def _check_optimizer_state(state: Any, source: str) -> None:
    for group in entry(state, "param_groups", list, source):
        params = entry(group, "params", list, f"{source}.param_groups")
        if any(type(one) is not int for one in params):
            raise ValueError(f"{source}.param_groups: params is {shown(params)}, expected numbers of parameters")
        entry(group, "lr", (int, float, Tensor), f"{source}.param_groups")
    moments = entry(state, "state", dict, source)
    for number, values in moments.items():
        if type(number) is not int or not isinstance(values, dict):
            raise ValueError(f"{source}.state has {shown(number)}: {shown(values)}, expected values of a parameter")
        if text := [name for name, value in values.items() if isinstance(value, str | bytes)]:
            raise ValueError(f"{source}.state.{number}: {text[0]} is {shown(values[text[0]])}, expected numbers")
    if any("step" in values for values in moments.values()):  # an optimizer keeps it for all parameters or for none
        for number, values in moments.items():
            step = entry(values, "step", (int, float, Tensor), f"{source}.state.{number}")
            if isinstance(step, Tensor) and step.numel() != 1:
                raise ValueError(f"{source}.state.{number}: step has shape {tuple(step.shape)}, expected one number")


def schedules_in_a_row(schedules: Any) -> list[Any]:
    """Return the schedules of all optimizers; mmengine keeps a dict of lists where there are several."""
    lists = schedules.values() if isinstance(schedules, dict) else [schedules]
    return [one for found in lists for one in (found if isinstance(found, list) else [] if found is None else [found])]
