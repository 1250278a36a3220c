"""The release's MTM and classifier to ours and back: by name, and what is refused; TokenAdapt has a file of its own."""

import re

import pytest
import torch
from torch import Tensor

from helpers.golden import load_golden
from seitpp.converters import LAYOUTS, from_release, to_release

FIXTURE = {
    "mtm": "mtm_forward.npz",
    "mtm-classifier": "mtm_finetune_forward.npz",
    "seit-classifier": "seit_classifier_forward.npz",
}
TOKEN_ADAPT = {
    "conversion_function.0.weight": torch.zeros(3, 2),
    "conversion_function.1.transformer.layers.0.0.norm.weight": torch.zeros(3),
    "reverse_transform.1.bias": torch.zeros(3),
}

# Another layout than each, and what of it is unknown there.
OTHER = {
    "mtm": ("mtm-classifier", "head.weight, head.bias"),
    "mtm-classifier": ("mtm", "mask_token_label"),
    "seit-classifier": ("mtm-classifier", "token_emb.word_embeddings.weight"),
}

pytestmark = pytest.mark.parametrize("layout", sorted(FIXTURE))


def release_weights(layout: str) -> dict[str, Tensor]:
    golden = load_golden(FIXTURE[layout])
    return {key[3:]: torch.from_numpy(value) for key, value in golden.items() if key.startswith("sd/")}


def test_every_layout_has_a_fixture(layout: str) -> None:
    assert {*FIXTURE, "tokenadapt"} == LAYOUTS.keys() and release_weights(layout)


@pytest.mark.parity
def test_there_and_back_gives_the_same_weights(layout: str) -> None:
    theirs = release_weights(layout)
    ours, dropped = from_release(theirs, layout)
    assert dropped == (["decoder_pos_embed"] if layout == "mtm" else [])
    back, ours_dropped = to_release(ours, layout)
    assert ours_dropped == [] and back.keys() == theirs.keys()
    for name, value in theirs.items():
        if name in dropped:  # made again from its formula
            torch.testing.assert_close(back[name], value, atol=2e-6, rtol=0)
        else:
            assert torch.equal(back[name], value), name


def test_back_and_there_gives_the_same_weights(layout: str) -> None:
    ours, _ = from_release(release_weights(layout), layout)
    again, _ = from_release(to_release(ours, layout)[0], layout)
    assert again.keys() == ours.keys() and all(again[name] is ours[name] for name in ours)


def test_token_adapt_is_dropped_and_listed(layout: str) -> None:
    plain, dropped = from_release(release_weights(layout), layout)
    with_modules, more = from_release({**release_weights(layout), **TOKEN_ADAPT}, layout)
    assert with_modules.keys() == plain.keys() and more == [*dropped, *TOKEN_ADAPT]


def test_names_that_only_begin_like_token_adapt_are_unknown(layout: str) -> None:
    with pytest.raises(ValueError, match=r"unknown keys: conversion_functions\.weight$"):
        from_release({**release_weights(layout), "conversion_functions.weight": torch.zeros(1)}, layout)


def test_our_codebook_is_dropped_and_listed_on_export(layout: str) -> None:
    ours, _ = from_release(release_weights(layout), layout)
    exported, dropped = to_release({**ours, "data_preprocessor.codebook": torch.zeros(5, 2)}, layout)
    assert dropped == ["data_preprocessor.codebook"] and exported.keys() == to_release(ours, layout)[0].keys()


def test_no_name_is_used_twice(layout: str) -> None:
    names = LAYOUTS[layout].names
    assert len(set(names.values())) == len(names)


@pytest.mark.parametrize("name", ["extra.weight", "blocks.0.attn.rel_pos", "blocks.0.1.norm1.weight", "xnorm.weight"])
def test_unknown_key_is_refused(layout: str, name: str) -> None:
    with pytest.raises(ValueError, match=rf"release checkpoint \({layout}\) .*expected names; unknown keys: {name}$"):
        from_release({**release_weights(layout), name: torch.zeros(1)}, layout)


@pytest.mark.parametrize(
    "name", ["cls_token", "token_emb.LayerNorm.bias", "blocks.0.norm1.weight", "blocks.1.mlp.fc2.bias"]
)
def test_missing_key_is_refused(layout: str, name: str) -> None:
    weights = release_weights(layout)
    if name.startswith("blocks.1.") and name not in weights:
        name = name.replace("blocks.1.", "blocks.0.")
    if layout == "seit-classifier" and name.startswith("token_emb."):
        name = "patch_embed.proj.bias"  # it embeds no codes
    del weights[name]
    with pytest.raises(ValueError, match=f"expected names; missing keys: {re.escape(name)}$"):
        from_release(weights, layout)


def test_missing_block_is_refused(layout: str) -> None:
    weights = release_weights(layout)
    last = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
    copies = {
        name.replace("blocks.0.", f"blocks.{last + 1}."): value
        for name, value in weights.items()
        if name.startswith("blocks.0.")
    }
    with pytest.raises(ValueError, match=rf"missing keys: blocks\.{last}\.norm1\.weight, .* and 4 more$"):
        from_release({**copies, **weights}, layout)


def test_checkpoint_without_blocks_is_refused(layout: str) -> None:
    weights = {name: value for name, value in release_weights(layout).items() if not name.startswith("blocks.")}
    with pytest.raises(ValueError, match=r"missing keys: blocks\.0\.norm1\.weight"):
        from_release(weights, layout)


def test_ours_with_an_unknown_key_is_refused(layout: str) -> None:
    ours, _ = from_release(release_weights(layout), layout)
    with pytest.raises(ValueError, match=rf"checkpoint \({layout}\) .*; unknown keys: backbone\.extra$"):
        to_release({**ours, "backbone.extra": torch.zeros(1)}, layout)


def test_ours_with_a_missing_key_is_refused(layout: str) -> None:
    ours, _ = from_release(release_weights(layout), layout)
    del ours["backbone.layers.0.ffn.layers.0.0.weight"]
    with pytest.raises(ValueError, match=r"missing keys: backbone\.layers\.0\.ffn\.layers\.0\.0\.weight$"):
        to_release(ours, layout)


def test_the_other_layout_is_refused(layout: str) -> None:
    other, unknown = OTHER[layout]
    with pytest.raises(ValueError, match=rf"\({layout}\) does not have the expected names; unknown keys: .*{unknown}"):
        from_release(release_weights(other), layout)


def test_export_of_a_grid_that_is_not_square(layout: str) -> None:
    ours, _ = from_release(release_weights(layout), layout)
    ours["backbone.pos_embed"] = ours["backbone.pos_embed"][:, :-1]
    if layout != "mtm":  # nothing to make again
        assert to_release(ours, layout)[0]["pos_embed"] is ours["backbone.pos_embed"]
        return
    ours["neck.decoder_pos_embed"] = ours["neck.decoder_pos_embed"][:, :-1]
    with pytest.raises(ValueError, match=r"knows square grids only; \d+ patches are not one"):
        to_release(ours, layout)
