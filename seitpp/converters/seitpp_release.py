"""Names and shapes of the SeiT++ release's checkpoints, and the table that takes them to ours and back.

One table a layout serves both directions. Keys that one side has and the other does not need are listed with it, so
that dropping them is a decision and not an accident; every other unknown or missing key is an error.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from seitpp.checkpoint import shorten
from seitpp.positions import sincos_position_table


@dataclass(frozen=True)
class Layout:
    """How one kind of released checkpoint is named.

    Attributes:
        names: Release name to our name; `{i}` stands for a block's number.
        dropped: Release names (regular expressions) that have no counterpart here.
        restored: Release name to a function of our weights that makes it again for export.
    """

    names: Mapping[str, str]
    dropped: tuple[str, ...] = ()
    restored: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]] = field(default_factory=dict)


def _block(theirs: str, ours: str) -> dict[str, str]:
    parts = {
        "norm1": "ln1",
        "attn.qkv": "attn.qkv",
        "attn.proj": "attn.proj",
        "norm2": "ln2",
        "mlp.fc1": "ffn.layers.0.0",
        "mlp.fc2": "ffn.layers.1",
    }
    return {
        f"{theirs}.{{i}}.{their_part}.{kind}": f"{ours}.{{i}}.{our_part}.{kind}"
        for their_part, our_part in parts.items()
        for kind in ("weight", "bias")
    }


def _pair(theirs: str, ours: str) -> dict[str, str]:
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}


_ENCODER = {
    "token_emb.word_embeddings.weight": "backbone.token_embed.word_embeddings.weight",
    **_pair("token_emb.LayerNorm", "backbone.token_embed.norm"),
    **_pair("patch_embed.proj", "backbone.patch_embed.projection"),
    "cls_token": "backbone.cls_token",
    "pos_embed": "backbone.pos_embed",
    **_block("blocks", "backbone.layers"),
}

# The release saves its frozen TokenAdapt inside the model; ours is a file of its own.
_TOKEN_ADAPT = (r"conversion_function\..*", r"reverse_transform\..*")


def _fixed_decoder_positions(weights: Mapping[str, Tensor]) -> Tensor:
    """The decoder's sine-cosine table, which the release stores and never uses."""
    _, places, dims = weights["neck.decoder_pos_embed"].shape
    side = round((places - 1) ** 0.5)
    if side * side != places - 1:
        raise ValueError(f"the release's layout knows square grids only; {places - 1} patches are not one")
    return sincos_position_table((side, side), dims, cls_token=True)


LAYOUTS = {
    "mtm": Layout(
        names={
            **_ENCODER,
            **_pair("norm", "backbone.ln1"),
            "mask_token_label": "backbone.mask_token",
            **_pair("decoder_embed", "neck.decoder_embed"),
            "decoder_pos_embed_learned": "neck.decoder_pos_embed",
            **_block("decoder_blocks", "neck.layers"),
            **_pair("decoder_norm", "neck.norm"),
            **_pair("mlm_layer.fc", "head.fc"),
            **_pair("mlm_layer.ln", "head.norm"),
            "mlm_layer.bias": "head.bias",
        },
        dropped=("decoder_pos_embed", *_TOKEN_ADAPT),
        restored={"decoder_pos_embed": _fixed_decoder_positions},
    ),
    "mtm-classifier": Layout(
        names={**_ENCODER, **_pair("norm", "backbone.ln2"), **_pair("head", "head.fc")},
        dropped=_TOKEN_ADAPT,
    ),
}

# Ours that the release does not know: the codebook that the data preprocessor carries.
_OURS_ONLY = (r"data_preprocessor\.codebook",)


def from_release(weights: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the release's weights to ours.

    Args:
        weights: The release's state dict.
        layout: Key of `LAYOUTS`.

    Returns:
        Our state dict, and the names that were dropped on purpose.

    Raises:
        ValueError: A key is unknown, or one that the layout needs is missing.
    """
    entry = LAYOUTS[layout]
    return _rename(weights, entry.names, entry.dropped, f"release checkpoint ({layout})")


def to_release(weights: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """Rename our weights to the release's; the inverse of `from_release` but for dropped TokenAdapt weights.

    Args:
        weights: Our state dict.
        layout: Key of `LAYOUTS`.

    Returns:
        The release's state dict, and our names that were dropped on purpose.

    Raises:
        ValueError: A key is unknown, or one that the layout needs is missing.
    """
    entry = LAYOUTS[layout]
    inverse = {ours: theirs for theirs, ours in entry.names.items()}
    renamed, dropped = _rename(weights, inverse, _OURS_ONLY, f"checkpoint ({layout})")
    return {**renamed, **{name: make(weights) for name, make in entry.restored.items()}}, dropped


def _rename(
    weights: Mapping[str, Tensor], names: Mapping[str, str], dropped: tuple[str, ...], what: str
) -> tuple[dict[str, Tensor], list[str]]:
    renamed, left_out, unknown = {}, [], []
    blocks: dict[str, set[int]] = {}  # numbers seen, by the part of the name before the number
    for name, value in weights.items():
        generic = re.sub(r"\.(\d+)\.", ".{i}.", name, count=1)
        if name in names:
            renamed[names[name]] = value
        elif generic in names:
            number = re.search(r"\.(\d+)\.", name).group(1)
            blocks.setdefault(generic.split("{i}")[0], set()).add(int(number))
            renamed[names[generic].replace("{i}", number)] = value
        elif any(re.fullmatch(pattern, name) for pattern in dropped):
            left_out.append(name)
        else:
            unknown.append(name)
    expected = _expand(names, blocks)
    missing = [name for name in expected if name not in weights]
    if unknown or missing:
        problems = [f"unknown keys: {shorten(unknown)}"] if unknown else []
        problems += [f"missing keys: {shorten(missing)}"] if missing else []
        raise ValueError(f"{what} does not have the expected names; " + "; ".join(problems))
    return renamed, left_out


def _expand(names: Mapping[str, str], blocks: Mapping[str, set[int]]) -> list[str]:
    """Every name that must be there, blocks numbered from 0 to the largest number seen."""
    expanded = []
    for name in names:
        if "{i}" in name:
            seen = blocks.get(name.split("{i}")[0], set())
            expanded += [name.replace("{i}", str(number)) for number in range(max(seen, default=0) + 1)]
        else:
            expanded.append(name)
    return expanded
