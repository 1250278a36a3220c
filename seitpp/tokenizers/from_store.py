"""The tokenizer that made a store, built again from what the store's header records."""

from pathlib import Path
from typing import Any

import numpy as np

from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.storage.numbering import CodeTable
from seitpp.tokenizer_facts import tokenizer_options
from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.vq_tokenizer import VQTokenizer


def tokenizer_from_store(reader: StoreReader, checkpoint: str | Path | None = None) -> Tokenizer:
    """Build the tokenizer of a store.

    One that is nothing but its codebook, or has none, comes from the header and the store's codebook alone. Networks
    need their weights: `checkpoint`, or the file that the header names if it is still there.

    Args:
        reader: The store.
        checkpoint: File of the weights, for tokenizers with networks.

    Raises:
        ValueError: The header does not name a tokenizer type of ours, as that of an imported release; or the file of
            the weights is missing, or not the one that made the store.
    """
    facts = reader.header["tokenizer"]
    if "type" not in facts:
        raise ValueError(
            f"the store's tokenizer, {facts.get('name', 'without a name')!r}, cannot be built again: its header names "
            "no type"
        )
    options = tokenizer_options(facts)
    if "weights_sha256" in facts:
        return _network_of(reader, options, _checkpoint_of(facts, checkpoint))
    if reader.codebook is not None:
        options["codebook"] = reader.codebook
    return TOKENIZERS.build(options)


def _checkpoint_of(facts: dict[str, Any], given: str | Path | None) -> Path:
    """The file of the weights, or what is needed as an error."""
    needed = f"the weights of {facts['type']} with SHA-256 {facts['weights_sha256']}"
    recorded = facts.get("checkpoint")
    if given is not None:
        return Path(given)
    if recorded is None:
        raise ValueError(f"{needed} made this store and came from no file (random weights); pass a checkpoint of them")
    if not Path(recorded).is_file():
        raise ValueError(f"{needed} made this store, from {recorded}, which is not here; pass their file as checkpoint")
    return Path(recorded)


def _network_of(reader: StoreReader, options: dict[str, Any], checkpoint: Path) -> VQTokenizer:
    """Networks with the weights that made the store, cut down to the codes that the store has kept."""
    tokenizer = TOKENIZERS.build({**options, "checkpoint": str(checkpoint)}).eval()
    expected = reader.header["tokenizer"]["weights_sha256"]
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
