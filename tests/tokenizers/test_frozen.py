"""A tokenizer that is used and not owned: built late, checked once, shared by copies."""

import copy

import pytest
import torch

from seitpp.tokenizers.frozen import FrozenTokenizer

CONFIG = dict(type="seitpp.PatchKMeans", image_size=4, patch_size=2, in_channels=1, codebook=torch.rand(5, 4))


def test_it_is_built_at_the_first_use_and_checked_once() -> None:
    checked = []
    frozen = FrozenTokenizer(CONFIG, checked.append)
    assert checked == []
    tokenizer = frozen.on("cpu")
    assert frozen.on("cpu") is tokenizer and checked == [tokenizer]
    assert not tokenizer.training and not any(value.requires_grad for value in tokenizer.parameters())


def test_a_tokenizer_that_does_not_suit_is_refused_at_every_use() -> None:
    def refuse(tokenizer: object) -> None:
        raise ValueError("another codebook")

    frozen = FrozenTokenizer(CONFIG, refuse)
    for _ in range(2):
        with pytest.raises(ValueError, match="another codebook"):
            frozen.on("cpu")


def test_copies_share_it() -> None:
    frozen = FrozenTokenizer(CONFIG)
    assert copy.deepcopy(frozen) is frozen


def test_tokens_are_those_of_the_tokenizer() -> None:
    pixels = torch.randint(256, (3, 1, 4, 4), dtype=torch.uint8)
    frozen = FrozenTokenizer(CONFIG)
    tokens = frozen.tokens_of(pixels)
    assert torch.equal(tokens, frozen.on("cpu").encode(pixels / 255).int()) and not tokens.is_inference()


@pytest.mark.parametrize("source", [{"codebook": None}, 5, None])
def test_what_describes_no_tokenizer_is_refused(source: object) -> None:
    with pytest.raises(ValueError, match="expected its config"):
        FrozenTokenizer(source)
