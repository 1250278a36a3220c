"""Which facts of a header build a tokenizer again, and which tell two apart."""

import pytest

from seitpp.storage.identity import identity_difference, tokenizer_identity, tokenizer_options

FACTS = {"type": "BlockDCT", "name": "jpeg", "quality": 50, "preprocessing": {"resize": "exact"}, "image_size": [8, 8]}


def test_options_are_what_a_constructor_takes() -> None:
    assert tokenizer_options(FACTS) == {"type": "seitpp.BlockDCT", "quality": 50, "image_size": [8, 8]}


def test_identity_is_what_changes_tokens() -> None:
    assert tokenizer_identity(FACTS) == {"type": "BlockDCT", "quality": 50}
    assert tokenizer_identity({"name": "imported"}) is None


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        ({"type": "BlockDCT", "quality": 50, "weights_sha256": "a"}, None),
        ({"type": "PatchKMeans", "quality": 90}, "quality 50 and 90, type BlockDCT and PatchKMeans"),
        (None, None),
        ({}, None),
    ],
)
def test_only_what_both_know_is_compared(second: dict | None, difference: str | None) -> None:
    assert identity_difference({"type": "BlockDCT", "quality": 50}, second) == difference
