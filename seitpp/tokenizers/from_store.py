"""The tokenizer that made a store, built again from what the store's header records."""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seitpp.io.text import shown
from seitpp.io.untrusted import parsing
from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.storage.code_table import CodeTable
from seitpp.storage.tokenizer_entry import tokenizer_options
from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.vq_tokenizer import VQTokenizer

# Options that name files or values; a header gives neither.
_NOT_OF_A_HEADER = ("checkpoint", "codebook")
_MOST_PARAMETERS = 2**31  # three times those of the largest published tokenizer


def tokenizer_from_store(reader: StoreReader, checkpoint: str | Path | None = None) -> Tokenizer:
    """Build the tokenizer of a store.

    A tokenizer without networks comes from the header and the store's codebook alone. Networks need their weights:
    the file `checkpoint`, or that which the header names if it is still there. `ValueError` where the header does not
    describe one, as that of an imported release, or the weights are missing or others.
    """
    entry = reader.header["tokenizer"]
    if "type" not in entry:
        raise ValueError(
            f"the store's tokenizer, {entry.get('name', 'without a name')!r}, cannot be built again: its header names "
            "no type"
        )
    outline = outline_from_header(entry, reader.path)
    names = ("sample_shape",) if outline.channels is None else ("sample_shape", "codebook_size", "minimum")
    described, stored = ({name: getattr(part, name) for name in names} for part in (outline, reader))
    if described != stored:
        raise ValueError(
            f"{reader.path}: its header describes a {entry['type']} with {described}, but the store has {stored}: the "
            "header was damaged or edited"
        )
    if isinstance(outline, VQTokenizer) != ("weights_sha256" in entry):
        raise ValueError(
            f"{reader.path}: its header says that a {entry['type']} made it, but "
            + ("for no networks names weights" if "weights_sha256" in entry else "not with which weights")
            + " (weights_sha256), so it cannot be built again"
        )
    if isinstance(outline, VQTokenizer):
        return _network_of(reader, _checkpoint_of(entry, checkpoint))
    kind, options = _described(entry, reader.path)
    return kind(**options) if reader.codebook is None else kind(**options, codebook=reader.codebook)


def outline_from_header(entry: Mapping[str, Any], source: str | Path) -> Tokenizer:
    """Build what a header's entry `tokenizer` describes with sizes and without values, cheap whatever the sizes."""
    kind, options = _described(entry, source)
    options.pop("code_subset", None)  # it selects among values
    with parsing(f"{source}: tokenizer in header.json", f"a description of {kind.__name__}"), torch.device("meta"):
        outline = kind(**options)
    if (parameters := sum(value.numel() for value in outline.parameters())) > _MOST_PARAMETERS:
        raise ValueError(
            f"{source}: its header describes a {entry['type']} of {parameters:,} parameters, expected at most "
            f"{_MOST_PARAMETERS:,}: it is damaged or forged"
        )
    return outline


def _described(entry: Mapping[str, Any], source: str | Path) -> tuple[type[Tokenizer], dict[str, Any]]:
    """Return the class that a header names, looked up and never imported, and the options that it gives."""
    try:
        options = tokenizer_options(entry)
    except ValueError as error:
        raise ValueError(f"{source}: in its header, {error}") from error
    name = options.pop("type").removeprefix("seitpp.")
    kind = TOKENIZERS.module_dict.get(name)
    if not _is_tokenizer(kind):
        known = sorted(key for key, value in TOKENIZERS.module_dict.items() if _is_tokenizer(value))
        raise ValueError(
            f"{source}: its header names the tokenizer type {shown(name)}, expected one of {', '.join(known)}. A "
            "tokenizer of your own must be registered before its store is opened (custom_imports)"
        )
    taken = inspect.signature(kind).parameters.keys() - set(_NOT_OF_A_HEADER)
    if unknown := sorted(options.keys() - taken):
        raise ValueError(f"{source}: its header gives {name} the option {shown(unknown[0])}, which it does not take")
    return kind, options


def _is_tokenizer(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, Tokenizer)


def _checkpoint_of(entry: Mapping[str, Any], given: str | Path | None) -> Path:
    """Return the file of the weights, or say in a `ValueError` which file is needed."""
    needed = f"the weights of {entry['type']} with SHA-256 {entry['weights_sha256']}"
    recorded = entry.get("checkpoint")
    if given is not None:
        return Path(given)
    if recorded is None:
        raise ValueError(f"{needed} made this store and came from no file (random weights); pass a checkpoint of them")
    if not os.path.isfile(recorded):  # False, too, for what can be no path
        raise ValueError(
            f"{needed} made this store, from {recorded[-200:]}, which is not here; pass their file as checkpoint"
        )
    return Path(recorded)


def _network_of(reader: StoreReader, checkpoint: Path) -> VQTokenizer:
    """Load networks with the weights that made the store, cut down to the codes that the store has kept."""
    entry = reader.header["tokenizer"]
    kind, options = _described(entry, reader.path)
    tokenizer = kind(**options, checkpoint=str(checkpoint)).eval()
    expected = entry["weights_sha256"]
    if tokenizer.weights_sha256 != expected:
        raise ValueError(
            f"checkpoint {checkpoint} has weights with SHA-256 {tokenizer.weights_sha256}; the store was made by those "
            f"with {expected}. Pass the file that made it"
        )
    if reader.code_table is not None:
        _renumber(tokenizer, reader.code_table)
    if reader.codebook is not None:
        tokenizer.expect_codebook(reader.codebook)
    return tokenizer


def _renumber(tokenizer: VQTokenizer, table: CodeTable) -> None:
    """Follow a store that was renumbered after it was made; one that was made with the subset needs nothing."""
    kept = tokenizer.code_subset
    if kept is not None and np.array_equal(kept, table.codes):
        return
    if kept is None or table.codebook_size == len(kept):
        tokenizer.take_subset(table.codes)
    else:  # the table has the numbers of the whole codebook, of which the tokenizer has kept some
        rows = {code: row for row, code in enumerate(kept.tolist())}
        tokenizer.take_subset([rows.get(code, -1) for code in table.codes.tolist()])
