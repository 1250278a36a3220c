"""The configs that come with the package, by name: in a clone, an editable install and a wheel alike.

A name is that of a config's file without `.py`, such as `mtm_vitb`. The files are those that mmengine finds as
`seitpp::FOLDER/NAME.py`; `metafile.yml` of each folder names its task, or those of its configs.
"""

import fnmatch
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

import seitpp
from seitpp.engine.weight_files import full_name
from seitpp.io.text import did_you_mean, nearest_names


@cache
def config_folder() -> Path:
    """Return the folder of the configs: `.mim/configs` of an installed package, `configs` of a clone."""
    package = Path(seitpp.__file__).resolve().parent
    folders = [package / ".mim" / "configs", package.parent / "configs"]
    found = next((folder for folder in folders if (folder / "_base_").is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"the configs of seitpp are in neither of {folders[0]} and {folders[1]}; install it again"
        )
    return found


@cache
def named_configs() -> dict[str, Path]:
    """Return every config by its name, without the parts in `_base_`."""
    files = sorted(config_folder().glob("*/*.py"))
    return {path.stem: path for path in files if path.parent.name != "_base_"}


@cache
def tasks() -> dict[str, str]:
    """Return the task of every config by its name, such as `Image Classification`."""
    configs = named_configs()
    return {name: _task_of(configs.get(full_name(name), path)) for name, path in configs.items()}


def _task_of(config: Path) -> str:
    of_folder, of_configs = _tasks_in(config.parent)
    return of_configs.get(config.stem, of_folder)


@cache
def _tasks_in(folder: Path) -> tuple[str, dict[str, str]]:
    """Return the task of a folder, and those of configs in it that have another one."""
    metafile = yaml.safe_load((folder / "metafile.yml").read_text(encoding="utf-8"))
    named = {model["Name"]: model["Metadata"]["Task"] for model in metafile["Models"] if "Task" in model["Metadata"]}
    return metafile["Collections"][0]["Metadata"]["Task"], named


def find_config(name: str) -> Path:
    """Return the file of a named config; raise `ValueError` with the nearest names for one that is none."""
    found = named_configs().get(name.removesuffix(".py"))
    if found is None:
        names = nearest_names(name, named_configs())
        advice = did_you_mean(names) or "; seitpp.apis.list_models() gives all names"
        raise ValueError(f"{name!r} is neither the file of a config nor the name of one that comes with seitpp{advice}")
    return found


def list_models(
    pattern: str | None = None, exclude_patterns: Iterable[str] | None = None, task: str | None = None
) -> list[str]:
    """List the names of the configs that come with the package, as mmpretrain's `list_models`.

    Args:
        pattern: Wildcards that a name must begin with, such as `"seitpp*in1k"`.
        exclude_patterns: Wildcards that none may begin with.
        task: One of the tasks: `Image Classification`, `Semantic Segmentation`, `Masked Token Modelling`,
            `TokenAdapt`, `Tokenization`; in any case.

    Returns:
        Names in alphabetical order, each of which `get_model` takes.

    Raises:
        ValueError: There is no such task.
    """
    names = list(named_configs())
    if pattern is not None:
        names = fnmatch.filter(names, f"{pattern}*")
    excluded = {name for one in exclude_patterns or () for name in fnmatch.filter(names, f"{one}*")}
    if task is not None:
        known = sorted(set(tasks().values()))
        if task.casefold() not in [one.casefold() for one in known]:
            raise ValueError(f"task is {task!r}, expected one of {', '.join(known)}")
        names = [name for name in names if tasks()[name].casefold() == task.casefold()]
    return sorted(set(names) - excluded)
