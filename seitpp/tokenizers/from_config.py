"""A tokenizer as users name it: by a config, by a file of configs/tokenizers/, or by a store that it made."""

import os.path as osp
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seitpp.io.command_line import error_line
from seitpp.io.config_file import CONFIG_SUFFIXES, read_config
from seitpp.io.config_options import apply_options
from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.from_store import tokenizer_from_store

_REMEDY = (
    "give the config of the tokenizer that did (a file of configs/tokenizers/, with the checkpoint of its weights), or "
    "another store that it made"
)


def read_tokenizer(
    path: str, options: Mapping[str, Any] | None = None, *, may_fit: bool = False, remedy: str = _REMEDY
) -> dict[str, Any] | str:
    """Read the config in a file of configs/tokenizers/, or return the path of a token store as it is.

    Args:
        path: A config file, or the folder of a store.
        options: Entries of the file to change, by their dotted names, as `--cfg-options` gives them.
        may_fit: Whether a config that is fitted to images is taken.
        remedy: What messages advise where a store's tokenizer cannot be built again.
    """
    if Path(path).is_dir():
        check_rebuildable(path, remedy)
        if options:
            raise ValueError(f"{path} is a token store, whose tokenizer has no options; leave --cfg-options out")
        return str(path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"tokenizer {path} does not exist; expected a file of configs/tokenizers/, or a store")
    if not str(path).endswith(CONFIG_SUFFIXES):
        raise ValueError(f"tokenizer {path} is neither a config (.py) nor the folder of a token store")
    config = read_config(path)
    apply_options(config, options)
    if not config.get("tokenizer"):
        raise ValueError(f"{path} has no 'tokenizer'; expected a file of configs/tokenizers/, or a store")
    if isinstance(config.tokenizer, str):  # a config may name a store, too
        check_rebuildable(config.tokenizer, remedy)
        return config.tokenizer
    if "fit" in config.tokenizer and not may_fit:
        raise ValueError(
            f"the tokenizer of {path} is fitted to images, and to others it would be another one; give the token store "
            "that it made for training"
        )
    return config.tokenizer.to_dict()


def build_tokenizer(source: Mapping[str, Any] | str | Path) -> Tokenizer:
    """Build a tokenizer from its config, or from a token store that it made.

    Raises:
        ValueError: The config names no tokenizer or options that it does not take, or the store does not describe one.
    """
    if isinstance(source, (str, Path)):
        return tokenizer_from_store(StoreReader(source))
    try:
        return TOKENIZERS.build(dict(source))
    except (KeyError, TypeError) as error:
        raise ValueError(f"the tokenizer cannot be built: {error_line(error)}") from error


def check_rebuildable(path: str, remedy: str = _REMEDY) -> None:
    """Raise `ValueError` for a store whose header does not say how to build its tokenizer, or whose weights are gone.

    Reads the header alone. `remedy` says what to do.
    """
    made_by = StoreReader(path).header["tokenizer"]
    if "type" not in made_by:
        raise ValueError(
            f"{path} was imported or written by other means: its header names the tokenizer "
            f"{made_by.get('name', 'without a name')!r} and not how to build it; {remedy}"
        )
    weights = made_by.get("checkpoint")
    if "weights_sha256" in made_by and (weights is None or not osp.isfile(weights)):
        raise ValueError(
            f"{path} was made by a {made_by['type']} with the weights {weights or 'of no file'}, which are not here; "
            f"{remedy}"
        )
