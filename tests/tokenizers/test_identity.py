"""What tells two tokenizers apart, and the check that both sides belong to one."""

import numpy as np
import pytest
import torch

from seitpp.tokenizers.identity import (
    check_same_tokenizer,
    codebook_identity,
    data_identity,
    identity_difference,
    settings_identity,
)

FACTS = {"type": "BlockDCT", "name": "jpeg", "quality": 50, "preprocessing": {"resize": "exact"}, "image_size": [8, 8]}


def test_identity_is_what_changes_tokens() -> None:
    assert settings_identity(FACTS) == {"type": "BlockDCT", "quality": 50}
    assert settings_identity({"name": "imported"}) is None


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


def test_positions_are_compared_at_one_image_size() -> None:
    def identity(side: int, positions: str) -> dict:
        facts = {"type": "ViTVQGAN", "image_size": [side, side], "positions": positions, "tile_size": 256}
        return settings_identity(facts)

    difference = identity_difference(identity(512, "recompute"), identity(512, "tiles"))
    assert difference == "positions at 512 x 512 pixels recompute and tiles"
    assert identity_difference(identity(256, "recompute"), identity(512, "tiles")) is None
    assert identity_difference(identity(256, "recompute"), identity(256, "tiles")) is None


def test_data_are_of_the_codebook_that_their_metadata_names() -> None:
    codebook = np.eye(4, dtype=np.float32)
    identity = codebook_identity(torch.from_numpy(codebook))
    assert identity == codebook_identity(codebook) and identity["codebook_size"] == 4
    known = {"codebook_size": 4, "codebook_sha256": identity["codebook_sha256"], "channels": None, "grid": [2, 2]}
    assert data_identity(known) == identity
    assert data_identity({**known, "codebook_sha256": None}) == {"channels": None, "codebook_size": 4}
    assert data_identity({"classes": None}) == {}  # images


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        (codebook_identity(-torch.eye(4)), r"codebook_sha256 \w{12} and \w{12}\."),
        (codebook_identity(torch.eye(5)), r"codebook_sha256 \w{12} and \w{12}, codebook_size 4 and 5\."),
        (codebook_identity(None, 64), r"channels none and 64\."),
    ],
)
def test_refusal_says_what_differs_and_what_to_do(second: dict, difference: str) -> None:
    first = codebook_identity(torch.eye(4))
    check_same_tokenizer(first, "the store", first, "the model")
    check_same_tokenizer(first, "the store", None, "the model")
    with pytest.raises(ValueError, match=f"the store and the model belong to different tokenizers: {difference} Do it"):
        check_same_tokenizer(first, "the store", second, "the model", "Do it")
