"""Finding the work folders of runs below other folders, and the config that a run trained with.

A work folder is one that mmengine has used: it has a sub-folder per start, named by its time, or a checkpoint's name in
`last_checkpoint`. Configs are read as data; nothing in a work folder is run.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mmengine.config import Config

from seitpp.engine.resuming import numbered_checkpoints
from seitpp.io.checkpoint_config import config_of_checkpoint, parse_config
from seitpp.io.untrusted import read_file

_START = re.compile(r"\d{8}_\d{6}")
_MOST_DEPTH = 6  # of folders below one that was named
_MOST_CONFIG_BYTES = 1 << 20
_STORE_HEADER = "header.json"


def find_work_folders(places: Iterable[str | Path]) -> list[Path]:
    """Return the work folders at and below some folders, each once, in the order of their names below each place.

    Links are followed, hidden folders and token stores are not searched, and nothing more than six folders deep.

    Raises:
        FileNotFoundError: A place does not exist.
        ValueError: A place is a file, or there is no run at or below it.
    """
    found: dict[str, Path] = {}
    for place in map(Path, places):
        if not place.exists():
            raise FileNotFoundError(f"work folder {place} does not exist")
        if not place.is_dir():
            raise ValueError(f"{place} is a file, expected the work folder of a run, or a folder of such")
        here = list(_search(place.parent if _START.fullmatch(place.name) else place, _MOST_DEPTH, set()))
        if not here:
            raise ValueError(
                f"{place} holds no work folder of a run: nothing at or below it has a folder named by the time of a "
                "start, or a last_checkpoint; name what --work-dir of tools/train.py named, or a folder above it"
            )
        for folder in here:
            found.setdefault(os.path.realpath(folder), folder)
    return list(found.values())


def _search(folder: Path, depth: int, visited: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    try:
        with os.scandir(folder) as entries:
            found = {entry.name: entry.is_dir() for entry in entries}
    except PermissionError:
        return
    starts = [name for name, is_folder in found.items() if is_folder and _START.fullmatch(name)]
    if starts or "last_checkpoint" in found:
        yield folder
    if depth == 0 or _STORE_HEADER in found:
        return
    for name in sorted(name for name, is_folder in found.items() if is_folder and name not in starts):
        if not name.startswith("."):
            yield from _search(folder / name, depth - 1, visited)


def config_of_run(folder: Path) -> Config:
    """Return the config that a run trained with last: that of its log, else of the folder, else of a checkpoint.

    A test writes its own config over that of the folder, so that that beside the numbers of a training comes first.

    Raises:
        ValueError: There is none, or the first that there is cannot be read as data.
    """
    starts = sorted(folder.glob("*/vis_data/config.py"), reverse=True)
    trained = [path for path in starts if path.with_name("scalars.json").exists()]
    dumped = sorted(folder.glob("*.py"), key=os.path.getmtime, reverse=True)
    for path in [*trained, *dumped, *starts]:
        content = read_file(path, "config", at_most=_MOST_CONFIG_BYTES)
        return Config(parse_config(content.decode("utf-8", "replace"), f"config {path}"))
    for _, path in reversed(numbered_checkpoints(folder)):
        if (config := config_of_checkpoint(path)) is not None:
            return config
    raise ValueError(f"{folder} has no config: neither */vis_data/config.py nor another .py file nor a checkpoint's")
