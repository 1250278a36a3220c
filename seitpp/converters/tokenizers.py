"""Published tokenizer weights to ours and back: what each preset is, and how each family names its tensors.

A family's names are a function of ours, so one rule serves both directions, and what must be there follows from the
networks themselves.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seitpp.io.checkpoint import check_finite
from seitpp.io.plain_objects import UnreadTensor
from seitpp.io.text import shorten
from seitpp.layers.positions import sincos_position_table
from seitpp.registry import TOKENIZERS
from seitpp.tokenizers import ViTVQGAN, VQTokenizer

_DECODER = "decoder."
_FIRST_STAGE = "first_stage_model."  # of a latent diffusion model, whose other weights are not the tokenizer's
_POSITION_TOLERANCE = 2e-6  # float32 and float64 sine-cosine tables differ by less


@dataclass(frozen=True)
class Family:
    """How one codebase names the tensors of its tokenizers.

    Attributes:
        rules: (pattern, replacement) pairs from our name to theirs; the first whole match holds.
        dropped: Their names (regular expressions) that have no counterpart here.
        positions: Their names of fixed position tables, and our part whose width each has.
        used_codes: Their name of a buffer that lists the codes in use, if they may have one.
        reversed_decoder: Whether they number the decoder's levels in the order in which they run.
        weights_key: Under which key of a file their loader looks for the weights.
        restored: Their names, among those dropped, that a strict loader of theirs asks for, and shapes of the zeros
            that an export has there.
        sequence: Their parts that a pickled sequence of encoder and pre-quantiser holds, in this order.
    """

    rules: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...]
    positions: Mapping[str, str] = field(default_factory=dict)
    used_codes: str | None = None
    reversed_decoder: bool = False
    weights_key: str = "state_dict"
    restored: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    sequence: tuple[str, ...] = ()

    def their_name(self, ours: str, levels: int) -> str:
        """Return their name of one of our tensors, for networks of this many levels."""
        if self.reversed_decoder and (match := re.match(r"decoder\.levels\.(\d+)", ours)):
            ours = f"decoder.levels.{levels - 1 - int(match[1])}{ours[match.end() :]}"
        for pattern, replacement in self.rules:
            if (match := re.fullmatch(pattern, ours)) is not None:
                return match.expand(replacement)
        raise AssertionError(f"no rule for {ours}")


_CONVOLUTION_BLOCK = r"((?:norm|conv)\d?\.\w+)"
_ENHANCING = Family(
    rules=(
        (r"codebook", r"quantizer.embedding.weight"),
        (r"encoder\.patch_embed\.(\w+)", r"encoder.to_patch_embedding.0.\1"),
        (r"encoder\.pre_quant\.(\w+)", r"pre_quant.\1"),
        (r"decoder\.post_quant\.(\w+)", r"post_quant.\1"),
        (r"decoder\.to_pixels\.(\w+)", r"decoder.to_pixel.1.\1"),
        (r"(\w+\.transformer)\.norm\.(\w+)", r"\1.norm.\2"),
        (r"(\w+\.transformer\.layers\.\d+)\.norm1\.(\w+)", r"\1.0.norm.\2"),
        (r"(\w+\.transformer\.layers\.\d+)\.(qkv|out)\.(\w+)", r"\1.0.fn.to_\2.\3"),
        (r"(\w+\.transformer\.layers\.\d+)\.norm2\.(\w+)", r"\1.1.norm.\2"),
        (r"(\w+\.transformer\.layers\.\d+)\.fc1\.(\w+)", r"\1.1.fn.net.0.\2"),
        (r"(\w+\.transformer\.layers\.\d+)\.fc2\.(\w+)", r"\1.1.fn.net.2.\2"),
    ),
    dropped=(r"loss\..*", r"model_ema\..*"),
    positions={"encoder.en_pos_embedding": "encoder", "decoder.de_pos_embedding": "decoder"},
    sequence=("encoder", "pre_quant"),
)
_CONVOLUTIONAL_ENDS = (
    (r"encoder\.pre_quant\.(\w+)", r"quant_conv.\1"),
    (r"decoder\.post_quant\.(\w+)", r"post_quant_conv.\1"),
    (r"(\w+\.(?:conv_in|norm_out|conv_out)\.\w+)", r"\1"),
)
_TAMING = Family(
    rules=(
        (r"code_scores\.(\w+)", r"quantize.proj.\1"),
        (r"codebook", r"quantize.embedding.weight"),
        *_CONVOLUTIONAL_ENDS,
        (rf"encoder\.levels\.(\d+)\.blocks\.(\d+)\.{_CONVOLUTION_BLOCK}", r"encoder.down.\1.block.\2.\3"),
        (r"encoder\.levels\.(\d+)\.blocks\.(\d+)\.shortcut\.(\w+)", r"encoder.down.\1.block.\2.nin_shortcut.\3"),
        (r"encoder\.levels\.(\d+)\.attentions\.(\d+)\.out\.(\w+)", r"encoder.down.\1.attn.\2.proj_out.\3"),
        (r"encoder\.levels\.(\d+)\.attentions\.(\d+)\.(\w+\.\w+)", r"encoder.down.\1.attn.\2.\3"),
        (r"encoder\.levels\.(\d+)\.resample\.conv\.(\w+)", r"encoder.down.\1.downsample.conv.\2"),
        (rf"decoder\.levels\.(\d+)\.blocks\.(\d+)\.{_CONVOLUTION_BLOCK}", r"decoder.up.\1.block.\2.\3"),
        (r"decoder\.levels\.(\d+)\.blocks\.(\d+)\.shortcut\.(\w+)", r"decoder.up.\1.block.\2.nin_shortcut.\3"),
        (r"decoder\.levels\.(\d+)\.attentions\.(\d+)\.out\.(\w+)", r"decoder.up.\1.attn.\2.proj_out.\3"),
        (r"decoder\.levels\.(\d+)\.attentions\.(\d+)\.(\w+\.\w+)", r"decoder.up.\1.attn.\2.\3"),
        (r"decoder\.levels\.(\d+)\.resample\.conv\.(\w+)", r"decoder.up.\1.upsample.conv.\2"),
        (r"(\w+)\.mid\.0\.(\w+\.\w+)", r"\1.mid.block_1.\2"),
        (r"(\w+)\.mid\.1\.out\.(\w+)", r"\1.mid.attn_1.proj_out.\2"),
        (r"(\w+)\.mid\.1\.(\w+\.\w+)", r"\1.mid.attn_1.\2"),
        (r"(\w+)\.mid\.2\.(\w+\.\w+)", r"\1.mid.block_2.\2"),
    ),
    dropped=(r"loss\..*", r"model_ema\..*", r"quantize\.used"),
    used_codes="quantize.used",
)
# Its codebook has another name; it has no list of used codes.
_TAMING_GUMBEL = Family(
    rules=((r"codebook", r"quantize.embed.weight"), *_TAMING.rules), dropped=(r"loss\..*", r"model_ema\..*")
)
_LLAMAGEN = Family(
    rules=(
        (r"codebook", r"quantize.embedding.weight"),
        *_CONVOLUTIONAL_ENDS,
        (rf"(\w+)\.levels\.(\d+)\.blocks\.(\d+)\.{_CONVOLUTION_BLOCK}", r"\1.conv_blocks.\2.res.\3.\4"),
        (r"(\w+)\.levels\.(\d+)\.blocks\.(\d+)\.shortcut\.(\w+)", r"\1.conv_blocks.\2.res.\3.nin_shortcut.\4"),
        (r"(\w+)\.levels\.(\d+)\.attentions\.(\d+)\.out\.(\w+)", r"\1.conv_blocks.\2.attn.\3.proj_out.\4"),
        (r"(\w+)\.levels\.(\d+)\.attentions\.(\d+)\.(\w+\.\w+)", r"\1.conv_blocks.\2.attn.\3.\4"),
        (r"encoder\.levels\.(\d+)\.resample\.conv\.(\w+)", r"encoder.conv_blocks.\1.downsample.conv.\2"),
        (r"decoder\.levels\.(\d+)\.resample\.conv\.(\w+)", r"decoder.conv_blocks.\1.upsample.conv.\2"),
        (r"(\w+)\.mid\.1\.out\.(\w+)", r"\1.mid.1.proj_out.\2"),
        (r"(\w+\.mid\.\d\.\w+\.\w+)", r"\1"),
    ),
    dropped=(r"quantize\.codebook_used",),
    reversed_decoder=True,
    weights_key="model",
    restored={"quantize.codebook_used": (65536,)},  # which codes came last, while training
)


@dataclass(frozen=True)
class Preset:
    """A published tokenizer: the config of its networks and of its authors' resizing, and the names in its file."""

    tokenizer: Mapping[str, Any]
    family: Family

    def build(self) -> VQTokenizer:
        return TOKENIZERS.build(dict(self.tokenizer))

    def build_empty(self) -> VQTokenizer:
        """Build the tokenizer without values, on the meta device: names and shapes."""
        with torch.device("meta"):
            return self.build()


def _vit(arch: str, **resizing: str) -> Preset:
    return Preset({"type": "seitpp.ViTVQGAN", "arch": arch, **resizing}, _ENHANCING)


def _convolutional(arch: str, family: Family) -> Preset:
    resize = "llamagen" if family is _LLAMAGEN else "taming"
    return Preset({"type": "seitpp.VQGAN", "arch": arch, "resize": resize}, family)


PRESETS: dict[str, Preset] = {
    "vitvqgan_small": _vit("small", resize="enhancing-transformers"),
    "vitvqgan_base": _vit("base", resize="enhancing-transformers"),
    "seit_vitvqgan": _vit("seit"),
    "vqgan_f16_1024": _convolutional("vqgan_f16_1024", _TAMING),
    "vqgan_f16_16384": _convolutional("vqgan_f16_16384", _TAMING),
    "vqgan_gumbel_f8": _convolutional("vqgan_gumbel_f8", _TAMING_GUMBEL),
    "ldm_vq_f4": _convolutional("ldm_vq_f4", _TAMING),
    "ldm_vq_f4_noattn": _convolutional("ldm_vq_f4_noattn", _TAMING),
    "ldm_vq_f8": _convolutional("ldm_vq_f8", _TAMING),
    "ldm_vq_f8_n256": _convolutional("ldm_vq_f8_n256", _TAMING),
    "ldm_vq_f16": _convolutional("ldm_vq_f16", _TAMING),
    "llamagen_vq16": _convolutional("llamagen_vq16", _LLAMAGEN),
    "llamagen_vq8": _convolutional("llamagen_vq8", _LLAMAGEN),
}


_CODEBOOKS = {preset.family.their_name("codebook", 0) for preset in PRESETS.values()}


@dataclass(frozen=True)
class Converted:
    """What came of a published file.

    `dropped` are their names that were left out on purpose, `used_codes` (K',), int64, the codes that the file says are
    in use, or None.
    """

    weights: dict[str, Tensor]
    dropped: list[str]
    has_decoder: bool
    used_codes: Tensor | None = None


def from_published(
    weights: Mapping[str, Tensor | UnreadTensor],
    preset: str,
    tokenizer: VQTokenizer | None = None,
    source: str | Path = "the file",
) -> Converted:
    """Rename published weights to ours.

    Args:
        preset: Key of `PRESETS`.
        tokenizer: Networks that the weights are for; by default the preset's, without values.
        source: The file's name, for messages.

    Raises:
        ValueError: The codebook has another size, names are unknown, names of the encoder or the codebook are
            missing, the decoder is there in part, shapes differ, values are not finite, a position table is not
            sine-cosine, or a tensor that is needed is of a kind that cannot be read.
    """
    family, tokenizer = PRESETS[preset].family, tokenizer or PRESETS[preset].build_empty()
    expected = tokenizer.state_dict()
    weights, others = first_stage(weights)
    weights = _named_parts(weights, family)
    names = _their_names(family, tokenizer)
    needed = {*names.values(), *family.positions, family.used_codes}
    readable({name: value for name, value in weights.items() if name in needed}, source)
    _check_codebook(weights.get(names["codebook"]), tokenizer, preset, source)
    renamed = {ours: weights[theirs] for ours, theirs in names.items() if theirs in weights}
    left_out = [name for name in weights if name not in names.values()]
    known = "|".join([*map(re.escape, family.positions), *family.dropped])
    dropped = [name for name in left_out if re.fullmatch(known, name)]
    unknown = [name for name in left_out if not re.fullmatch(known, name)]
    decodes = has_decoder(renamed)
    missing = [
        theirs for ours, theirs in names.items() if ours not in renamed and (decodes or not ours.startswith(_DECODER))
    ]
    problems = [f"{what} keys: {shorten(keys)}" for what, keys in (("unknown", unknown), ("missing", missing)) if keys]
    shapes = [
        f"{names[ours]} {tuple(value.shape)}, expected {tuple(expected[ours].shape)}"
        for ours, value in renamed.items()
        if value.shape != expected[ours].shape
    ]
    if shapes:
        problems.append(f"wrong shapes: {shorten(shapes, 4)}")
    if problems:
        raise ValueError(f"{source} is not a {preset} as published ({len(renamed)} keys fit); " + "; ".join(problems))
    found = {names[ours]: value for ours, value in renamed.items()}
    if integers := [f"{name} holds {value.dtype}" for name, value in found.items() if not value.is_floating_point()]:
        raise ValueError(f"{source}: {integers[0]}, expected floating-point weights")
    check_finite(found, source)
    for name in family.positions.keys() & weights.keys():
        _check_positions(weights[name], _positions(family, name, tokenizer), name, source)
    used = weights.get(family.used_codes) if family.used_codes else None
    return Converted(renamed, [*dropped, *others], decodes, None if used is None else used.long())


def first_stage(weights: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the tokenizer's weights in a file of a whole latent diffusion model, and the names of all others.

    Of any other file these are all weights, and no names.
    """
    part = {name.removeprefix(_FIRST_STAGE): value for name, value in weights.items() if name.startswith(_FIRST_STAGE)}
    # A codebook of a file of its own comes under its plain name.
    own = {name: value for name, value in weights.items() if name in _CODEBOOKS}
    others = [name for name in weights if not name.startswith(_FIRST_STAGE) and name not in own]
    return ({**part, **own}, others) if part else (dict(weights), [])


def _named_parts(weights: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Return weights of a pickled sequence, numbered parts, under the names of these parts."""
    numbers = {name.partition(".")[0] for name in weights if name[:1].isdigit()}
    if not family.sequence or numbers != {str(number) for number in range(len(family.sequence))}:
        return dict(weights)
    renamed = {}
    for name, value in weights.items():
        number, _, rest = name.partition(".")
        renamed[f"{family.sequence[int(number)]}.{rest}" if number in numbers else name] = value
    return renamed


def readable(weights: Mapping[str, Tensor | UnreadTensor], source: str | Path) -> dict[str, Tensor]:
    """Return the weights, all of them tensors; raises `ValueError` with the first that could not be read, and why."""
    for name, value in weights.items():
        if isinstance(value, UnreadTensor):
            raise ValueError(f"{source}: {name} is a tensor that cannot be read: {value.reason}")
    return dict(weights)


def to_published(weights: Mapping[str, Tensor], preset: str, tokenizer: VQTokenizer | None = None) -> dict[str, Tensor]:
    """Rename our weights to the published names, position tables made again; the inverse of `from_published`.

    Weights without any of the decoder stay without it; names that the preset's networks have not are a `ValueError`.
    """
    family = PRESETS[preset].family
    tokenizer = tokenizer or PRESETS[preset].build_empty()
    names, positions = _their_names(family, tokenizer), family.positions
    if not has_decoder(weights):
        names = {ours: theirs for ours, theirs in names.items() if not ours.startswith(_DECODER)}
        positions = {theirs: part for theirs, part in positions.items() if part != "decoder"}
    if wrong := sorted(names.keys() ^ weights.keys()):
        raise ValueError(f"the weights are not those of {preset}; missing or unknown keys: {shorten(wrong)}")
    renamed = {names[ours]: value for ours, value in weights.items()}
    made_again = {name: torch.zeros(shape) for name, shape in family.restored.items()}
    return {**renamed, **{name: _positions(family, name, tokenizer) for name in positions}, **made_again}


def has_decoder(weights: Mapping[str, Any]) -> bool:
    return any(name.startswith(_DECODER) for name in weights)


def _their_names(family: Family, tokenizer: VQTokenizer) -> dict[str, str]:
    levels = len(getattr(tokenizer.encoder, "levels", ()))
    return {ours: family.their_name(ours, levels) for ours in tokenizer.state_dict()}


def _check_codebook(found: Tensor | None, tokenizer: VQTokenizer, preset: str, source: str | Path) -> None:
    if found is not None and found.shape != tokenizer.codebook.shape:
        hint = "; for a codebook in a file of its own pass --codebook FILE" if preset == "seit_vitvqgan" else ""
        raise ValueError(
            f"{source} has a codebook of K x D = {' x '.join(map(str, found.shape))}, {preset} has "
            f"{' x '.join(map(str, tokenizer.codebook.shape))}{hint}"
        )


def _positions(family: Family, name: str, tokenizer: VQTokenizer) -> Tensor:
    """Return the position table that a published file of these networks has."""
    assert isinstance(tokenizer, ViTVQGAN)
    side = tokenizer.tile_size // tokenizer.stride
    dims = getattr(tokenizer, family.positions[name]).positions.dims
    return sincos_position_table((side, side), dims, computed_in=torch.float64)


def _check_positions(found: Tensor, expected: Tensor, name: str, source: str | Path) -> None:
    if found.shape != expected.shape:
        raise ValueError(
            f"{source}: {name} has shape {tuple(found.shape)}, the sine-cosine table of the preset's grid has "
            f"{tuple(expected.shape)}; the file was trained at another image size. Take the file of this preset"
        )
    difference = (found.float() - expected).abs().max().item()
    if not difference <= _POSITION_TOLERANCE:  # also NaN
        raise ValueError(
            f"{source}: {name} is not the sine-cosine table that ViT-VQGAN computes from its grid: the largest "
            f"difference is {difference:.3g}, expected at most {_POSITION_TOLERANCE:.3g}. It was trained with other "
            "positions, which our networks do not have"
        )
