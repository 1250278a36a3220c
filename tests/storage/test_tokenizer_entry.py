"""Which entries of a header build a tokenizer again."""

from seitpp.storage.tokenizer_entry import tokenizer_options

FACTS = {"type": "BlockDCT", "name": "jpeg", "quality": 50, "preprocessing": {"resize": "exact"}, "image_size": [8, 8]}


def test_options_are_what_a_constructor_takes() -> None:
    assert tokenizer_options(FACTS) == {"type": "seitpp.BlockDCT", "quality": 50, "image_size": [8, 8]}
