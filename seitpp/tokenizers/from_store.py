"""The tokenizer that made a store, built again from what the store's header records."""

from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.tokenizers.base import Tokenizer

# Facts for people and other readers, which no constructor takes.
_NOT_OPTIONS = ("name", "preprocessing")


def tokenizer_from_store(reader: StoreReader) -> Tokenizer:
    """Build the tokenizer of a store, with the store's codebook.

    Raises:
        ValueError: The header does not name a tokenizer type of ours, as that of an imported release.
    """
    facts = reader.header["tokenizer"]
    if "type" not in facts:
        raise ValueError(
            f"the store's tokenizer, {facts.get('name', 'without a name')!r}, cannot be built again: its header names "
            "no type"
        )
    options = {key: value for key, value in facts.items() if key not in _NOT_OPTIONS}
    return TOKENIZERS.build(dict(options, type=f"seitpp.{facts['type']}", codebook=reader.codebook))
