"""The tokenizer that made a store, built again from what the store's header records."""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seitpp.io.untrusted import parsing, shown
from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.storage.numbering import CodeTable
from seitpp.storage.tokenizer_entry import tokenizer_options
from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.vq_tokenizer import VQTokenizer

# Options that name files or values; a header gives neither.
_NOT_OF_A_HEADER = ("checkpoint", "codebook")
_MOST_PARAMETERS = 2**31  # three times those of the largest published tokenizer


def tokenizer_from_store(reader: StoreReader, checkpoint: str | Path | None = None) -> Tokenizer:
    """Build the tokenizer of a store.

    One that is nothing but its codebook, or has none, comes from the header and the store's codebook alone. Networks
    need their weights: `checkpoint`, or the file that the header names if it is still there.

    Args:
        reader: The store.
        checkpoint: File of the weights, for tokenizers with networks.

    Raises:
        ValueError: The header names no registered tokenizer, as that of an imported release, or options that it does
            not take; or the file of the weights is missing, or not the one that made the store.
    """
    facts = reader.header["tokenizer"]
    if "type" not in facts:
        raise ValueError(
            f"the store's tokenizer, {facts.get('name', 'without a name')!r}, cannot be built again: its header names "
            "no type"
        )
    outline = outline_from_header(facts, reader.path)
    if outline.channels is not None and (outline.codebook_size, outline.minimum) != (
        reader.codebook_size,
        reader.minimum,
    ):
        raise ValueError(
            f"{reader.path}: its header describes a {facts['type']} with {outline.codebook_size} values from "
            f"{outline.minimum}, but the store holds {reader.codebook_size} from {reader.minimum}: the header was "
            "damaged or edited"
        )
    if (outline.grid, outline.channels) != (reader.grid, reader.channels):
        raise ValueError(
            f"{reader.path}: its header describes a {facts['type']} with tokens of shape {outline.sample_shape}, but "
            f"samples have shape {reader.sample_shape}: the header is damaged or was edited"
        )
    if isinstance(outline, VQTokenizer) != ("weights_sha256" in facts):
        raise ValueError(
            f"{reader.path}: its header says that a {facts['type']} made it, but "
            + ("for no networks names weights" if "weights_sha256" in facts else "not with which weights")
            + " (weights_sha256), so it cannot be built again"
        )
    if isinstance(outline, VQTokenizer):
        return _network_of(reader, _checkpoint_of(facts, checkpoint))
    kind, options = _described(facts, reader.path)
    return kind(**options) if reader.codebook is None else kind(**options, codebook=reader.codebook)


def outline_from_header(facts: Mapping[str, Any], source: str | Path) -> Tokenizer:
    """The tokenizer that a header describes, with sizes and without values: cheap, whatever the sizes.

    Args:
        facts: The header's entry `tokenizer`, with a `type`.
        source: The store, for messages.

    Raises:
        ValueError: The type is no registered tokenizer, or does not take these options.
    """
    kind, options = _described(facts, source)
    options.pop("code_subset", None)  # it selects among values
    with parsing(f"{source}: tokenizer in header.json", f"a description of {kind.__name__}"), torch.device("meta"):
        outline = kind(**options)
    if (parameters := sum(value.numel() for value in outline.parameters())) > _MOST_PARAMETERS:
        raise ValueError(
            f"{source}: its header describes a {facts['type']} of {parameters:,} parameters, expected at most "
            f"{_MOST_PARAMETERS:,}: it is damaged or forged"
        )
    return outline


def _described(facts: Mapping[str, Any], source: str | Path) -> tuple[type[Tokenizer], dict[str, Any]]:
    """The class that a header names, looked up and never imported, and the options that it gives."""
    try:
        options = tokenizer_options(facts)
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


def _checkpoint_of(facts: Mapping[str, Any], given: str | Path | None) -> Path:
    """The file of the weights, or what is needed as an error."""
    needed = f"the weights of {facts['type']} with SHA-256 {facts['weights_sha256']}"
    recorded = facts.get("checkpoint")
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
    """Networks with the weights that made the store, cut down to the codes that the store has kept."""
    facts = reader.header["tokenizer"]
    kind, options = _described(facts, reader.path)
    tokenizer = kind(**options, checkpoint=str(checkpoint)).eval()
    expected = facts["weights_sha256"]
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
        places = {code: place for place, code in enumerate(kept.tolist())}
        tokenizer.take_subset([places.get(code, -1) for code in table.codes.tolist()])
