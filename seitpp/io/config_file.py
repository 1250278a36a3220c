"""Reading config files: whatever is wrong with one is an error that names it.

Configs, Python and YAML alike, are code and are run; read only those that you would run.
"""

import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from mmengine.config import Config, ConfigDict

import seitpp.registry  # noqa: F401 (with it mmengine knows bases named `seitpp::...`)
from seitpp.io.untrusted import PARSER_ERRORS, check_regular_file

CONFIG_SUFFIXES = (".py", ".json", ".yml", ".yaml")
# What mmengine's parsers raise, and what code in a config may.
_ERRORS = (*PARSER_ERRORS, AssertionError, ImportError, NameError, RuntimeError, yaml.YAMLError)


def read_config(path: str | Path, what: str = "config") -> Config:
    """Read a config file with its bases; its code runs. Messages call it `what`.

    Raises `ValueError` for what is no config file or whose code fails, and `OSError` where files cannot be accessed.
    """
    path = Path(path)
    if not path.exists() and (others := sorted(path.parent.parent.glob(f"*/{path.name}"))):
        raise FileNotFoundError(f"{what} {path} does not exist; did you mean {others[0]}?")
    path = check_regular_file(path, what)
    if path.suffix not in CONFIG_SUFFIXES:
        raise ValueError(f"{what} {path} is no file of a config, which ends in {', '.join(CONFIG_SUFFIXES)}")
    try:
        return Config.fromfile(str(path))
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        reason = f"the temporary copy that is read cannot be written to {tempfile.gettempdir()}, {error.strerror}"
        raise OSError(error.errno, reason, str(path)) from error
    except _ERRORS as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, SyntaxError) and error.lineno is not None:  # of a file that it does not name
            lines, reason = [error.lineno], f"SyntaxError: {error.msg}"
        with warnings.catch_warnings():  # of the temporary file that mmengine leaves open
            warnings.simplefilter("ignore", ResourceWarning)
            traceback.clear_frames(error.__traceback__)
        at = f", line {lines[-1]}" if lines else ""
        raise ValueError(f"{what} {path} cannot be read{at}: {reason}") from error


def dicts_in(node: Any) -> Iterator[ConfigDict]:
    """Yield every dict in a tree of dicts and lists, each before those that it holds."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts_in(child)


def type_name(part: Any) -> str:
    """Return the name of the class of a config's part, without its scope; empty where it names none."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    return (kind if isinstance(kind, str) else getattr(kind, "__name__", "")).split(".")[-1]
