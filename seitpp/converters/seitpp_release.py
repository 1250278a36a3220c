"""Names and shapes of the SeiT++ release's checkpoints, and the table that takes them to ours and back.

One table a layout serves both directions. Keys that one side has and the other does not need are listed with it, so
that dropping them is a decision and not an accident; every other unknown or missing key is an error.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from seitpp.io.text import shorten
from seitpp.layers.positions import sincos_position_table


@dataclass(frozen=True)
class Layout:
    """How one kind of released checkpoint is named.

    Attributes:
        names: Release name to our name; `{i}` stands for a block's number.
        dropped: Release names (regular expressions) that have no counterpart here.
        restored: Release name to a function of our weights and of the grids of tokens that makes it again for export.
        tables: Release names, among those dropped, of sine-cosine tables of square grids. They must be there and hold
            what their formula gives, because that is what our networks compute with.
        prefix: What our names begin with in a checkpoint of a larger model, whose other weights are then dropped.
        weights_key: Under which key of a file the release's scripts look for the weights; None where the names
            themselves are what the file holds.
    """

    names: Mapping[str, str]
    dropped: tuple[str, ...] = ()
    restored: Mapping[str, Callable[[Mapping[str, Tensor], Sequence[int]], Tensor]] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    prefix: str | None = None
    weights_key: str | None = "model"


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


_TOKEN_EMBEDDING = {
    "token_emb.word_embeddings.weight": "backbone.token_embed.word_embeddings.weight",
    **_pair("token_emb.LayerNorm", "backbone.token_embed.norm"),
}
_ENCODER = {
    **_pair("patch_embed.proj", "backbone.patch_embed.projection"),
    "cls_token": "backbone.cls_token",
    "pos_embed": "backbone.pos_embed",
    **_block("blocks", "backbone.layers"),
}

_CLASSIFIER = {**_ENCODER, **_pair("norm", "backbone.ln2"), **_pair("head", "head.fc")}

# The release saves its frozen TokenAdapt inside the model; ours is a file of its own.
_TOKEN_ADAPT = (r"conversion_function\..*", r"reverse_transform\..*")


def _tanh_transformer(theirs: str, ours: str) -> dict[str, str]:
    parts = {
        "layers.{i}.0.norm": "layers.{i}.norm1",
        "layers.{i}.0.fn.to_out": "layers.{i}.out",
        "layers.{i}.1.norm": "layers.{i}.norm2",
        "layers.{i}.1.fn.net.0": "layers.{i}.fc1",
        "layers.{i}.1.fn.net.2": "layers.{i}.fc2",
        "norm": "norm",
    }
    names = {f"{theirs}.layers.{{i}}.0.fn.to_qkv.weight": f"{ours}.layers.{{i}}.qkv.weight"}
    for their_part, our_part in parts.items():
        names |= _pair(f"{theirs}.{their_part}", f"{ours}.{our_part}")
    return names


# TokenAdapt's sine-cosine tables, in the order of the grids that they are for: before and after the augmentation.
_POSITIONS = ("conversion_function.1.de_pos_embedding", "reverse_transform.0.en_pos_embedding")
_GRID_SIDES = (32, 28)
# Tables made in float32 and in float64 differ by 7e-7.
_TABLE_TOLERANCE = 2e-6


def _token_adapt_positions(number: int) -> Callable[[Mapping[str, Tensor], Sequence[int]], Tensor]:
    def make(weights: Mapping[str, Tensor], sides: Sequence[int]) -> Tensor:
        dims = weights["conversion.embed.bias"].numel()
        return sincos_position_table((sides[number], sides[number]), dims)

    return make


def _check_table(name: str, table: Tensor) -> None:
    positions, dims = table.shape[-2:] if table.ndim == 3 else (0, 0)
    side = round(positions**0.5)
    if side * side != positions or not positions:
        raise ValueError(
            f"{name} has the shape {tuple(table.shape)}; expected (1, side * side, dims), positions of a square grid"
        )
    difference = (table.float() - sincos_position_table((side, side), dims)).abs().max()
    if not difference <= _TABLE_TOLERANCE:
        raise ValueError(
            f"{name} differs by {difference:.2g} from the sine-cosine positions of {side} x {side} tokens, which this "
            "package's TokenAdapt computes with; the file's weights would give other codes here"
        )


def _fixed_decoder_positions(weights: Mapping[str, Tensor], sides: Sequence[int]) -> Tensor:
    """Return the decoder's sine-cosine table, which the release stores and never uses."""
    _, positions, dims = weights["neck.decoder_pos_embed"].shape
    side = round((positions - 1) ** 0.5)
    if side * side != positions - 1:
        raise ValueError(f"the release's layout knows square grids only; {positions - 1} patches are not one")
    return sincos_position_table((side, side), dims, cls_token=True)


def _patterns(*names: str) -> tuple[str, ...]:
    """Regular expressions of names in which `{i}` stands for a number."""
    return tuple(re.escape(name).replace(re.escape("{i}"), r"\d+") for name in names)


LAYOUTS = {
    "mtm": Layout(
        names={
            **_TOKEN_EMBEDDING,
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
    "mtm-classifier": Layout(names={**_TOKEN_EMBEDDING, **_CLASSIFIER}, dropped=_TOKEN_ADAPT),
    # SeiT's, and SeiT++'s without MTM, read embeddings.
    "seit-classifier": Layout(names=_CLASSIFIER, dropped=_TOKEN_ADAPT),
}
LAYOUTS["tokenadapt"] = Layout(
    names={
        **_pair("conversion_function.0", "conversion.embed"),
        **_tanh_transformer("conversion_function.1.transformer", "conversion.transformer"),
        **_pair("conversion_function.1.to_pixel.1", "conversion.to_map"),
        **_pair("reverse_transform.0.to_patch_embedding.0", "reversal.from_map"),
        **_tanh_transformer("reverse_transform.0.transformer", "reversal.transformer"),
        **_pair("reverse_transform.1", "reversal.head"),
    },
    # A checkpoint of MTM or of its classifier holds a TokenAdapt as well.
    dropped=_patterns(*_POSITIONS, *LAYOUTS["mtm"].names, *LAYOUTS["mtm"].restored, *LAYOUTS["mtm-classifier"].names),
    restored={name: _token_adapt_positions(number) for number, name in enumerate(_POSITIONS)},
    tables=_POSITIONS,
    prefix="token_adapt.",
    weights_key=None,
)

# Ours that the release does not know: the codebook that the data preprocessor carries.
_OURS_ONLY = (r"data_preprocessor\.codebook",)


def from_release(weights: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the release's weights to ours; `layout` is a key of `LAYOUTS`.

    A key that is unknown or missing is a `ValueError`, as is a table of fixed positions that holds others than those of
    its formula.

    Returns:
        Our state dict, and the names that were dropped on purpose.
    """
    entry = LAYOUTS[layout]
    renamed, dropped = _rename(weights, entry.names, entry.dropped, f"release checkpoint ({layout})", entry.tables)
    for name in entry.tables:
        _check_table(name, weights[name])
    return renamed, dropped


def grid_sides(weights: Mapping[str, Tensor], layout: str) -> tuple[int, ...]:
    """Return the sides of the square grids that the release's fixed position tables are for, in the layout's order."""
    return tuple(round(weights[name].shape[1] ** 0.5) for name in LAYOUTS[layout].tables)


def to_release(
    weights: Mapping[str, Tensor], layout: str, sides: Sequence[int] = _GRID_SIDES
) -> tuple[dict[str, Tensor], list[str]]:
    """Rename our weights to the release's; the inverse of `from_release` but for weights of other networks.

    With `tokenadapt`, `sides` are those, in tokens, of the square grids before and after the augmentation, whose
    position tables the release stores and ours do not. A key that is unknown or missing is a `ValueError`.

    Returns:
        The release's state dict, and our names that were dropped on purpose.
    """
    entry = LAYOUTS[layout]
    inverse = {ours: theirs for theirs, ours in entry.names.items()}
    others: list[str] = []
    if entry.prefix and any(name.startswith(entry.prefix) for name in weights):
        others = [name for name in weights if not name.startswith(entry.prefix)]
        weights = {name[len(entry.prefix) :]: weights[name] for name in weights if name.startswith(entry.prefix)}
    renamed, dropped = _rename(weights, inverse, _OURS_ONLY, f"checkpoint ({layout})")
    return {**renamed, **{name: make(weights, sides) for name, make in entry.restored.items()}}, [*dropped, *others]


def _rename(
    weights: Mapping[str, Tensor],
    names: Mapping[str, str],
    dropped: tuple[str, ...],
    what: str,
    needed: tuple[str, ...] = (),
) -> tuple[dict[str, Tensor], list[str]]:
    expanded = dict(_expanded(names, weights))
    renamed = {expanded[name]: value for name, value in weights.items() if name in expanded}
    others = [name for name in weights if name not in expanded]
    left_out = [name for name in others if any(re.fullmatch(pattern, name) for pattern in dropped)]
    unknown = sorted(set(others) - set(left_out), key=others.index)
    missing = [name for name in [*expanded, *needed] if name not in weights]
    if unknown or missing:
        problems = [
            f"{kind} keys: {shorten(found)}" for kind, found in (("unknown", unknown), ("missing", missing)) if found
        ]
        raise ValueError(f"{what} does not have the expected names; " + "; ".join(problems))
    return renamed, left_out


def _expanded(names: Mapping[str, str], weights: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield every pair of names that must be there, blocks numbered from 0 to the largest number among the weights."""
    for theirs, ours in names.items():
        before, numbered, _ = theirs.partition("{i}")
        pattern = re.compile(rf"{re.escape(before)}(\d+)\..*")
        found = [int(match[1]) for name in weights if numbered and (match := pattern.fullmatch(name))]
        for number in range(min(max(found, default=0), len(weights)) + 1):  # there are no more blocks than weights
            yield theirs.replace("{i}", str(number)), ours.replace("{i}", str(number))
