"""Files of published tokenizers: reading them without running anything, checking, and writing ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seitpp.converters.tokenizers import (
    PRESETS,
    Converted,
    first_stage,
    from_published,
    readable,
    to_published,
)
from seitpp.io.atomic_write import check_other_file, written_whole
from seitpp.io.checkpoint import (
    SAFETENSORS_SUFFIX,
    check_finite,
    load_checkpoint_file,
    save_torch,
    save_weights,
    standalone,
    state_dict_of,
)
from seitpp.io.inert_pickle import Inert
from seitpp.io.pickled_modules import is_module, weights_of_module
from seitpp.io.plain_objects import UnreadTensor
from seitpp.io.torch_file import load_torch_file
from seitpp.tokenizers.codebook import checked_codebook, codebook_array, load_codebook
from seitpp.tokenizers.pixel_range import RangeProbe, probe_pixel_range
from seitpp.tokenizers.vq_tokenizer import check_preset, trained_weights

_CODEBOOK_NAMES = (
    "codebook",
    "tokenizer.codebook",
    "quantizer.embedding.weight",
    "quantize.embedding.weight",
    "quantize.embed.weight",
)
_MODULE_KEYS = ("state_dict", "model", "module", "tokenizer")


@dataclass(frozen=True)
class Conversion:
    """What `convert_tokenizer` did.

    Attributes:
        converted: The weights, and what was left out.
        probe: Errors in both pixel ranges, or None where it was not run.
        subset_file: File of the codes in use, where the source listed them.
        entry: The entry of the source that the weights were taken from, or None where the source is the weights.
        other_entries: Other entries of it that hold weights.
    """

    converted: Converted
    probe: RangeProbe | None
    subset_file: Path | None
    entry: str | None = None
    other_entries: tuple[str, ...] = ()


def read_published(path: str | Path, key: str | None = None) -> dict[str, Tensor | UnreadTensor]:
    """Read the tensors of a published file: a state dict under any of the usual keys, or a whole pickled module.

    Nothing in the file is run: where it holds more than tensors, as training checkpoints do, the rest is skipped.
    Tensors of kinds that no weights have, such as complex ones, come as marks. `key` is the entry that holds the
    weights, such as `ema`; by default the first of the usual ones. A file without weights is a `ValueError`.
    """
    return _weights_of(_read(Path(path)), path, key)


def weight_entries(content: Any) -> list[str]:
    """Return the entries of a file that each hold weights: `model`, `ema`."""
    entries = content.items() if isinstance(content, Mapping) else ()
    return [key for key, value in entries if isinstance(key, str) and _is_table(value)]


def _is_table(value: Any) -> bool:
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(entry, Tensor | UnreadTensor) for entry in value.values())
    return is_module(value)


def taken_entry(content: Any) -> str | None:
    """Return the entry of a file that its weights are taken from by default; None where the file is the weights."""
    keys = _MODULE_KEYS if isinstance(content, Mapping) else ()
    return next((key for key in keys if isinstance(content.get(key), Mapping | Inert)), None)


def _weights_of(content: Any, path: str | Path, key: str | None = None) -> dict[str, Tensor | UnreadTensor]:
    """Return the weights in a file's content; a `module.` of data-parallel training is taken off their names."""
    if key is not None and key not in (found := weight_entries(content)):
        raise ValueError(f"{path} holds no weights under {key!r}; it has some under {', '.join(found) or 'no key'}")
    key = key or taken_entry(content)
    content = content if key is None else content[key]
    if is_module(content):
        return _without_wrapper(weights_of_module(content))
    if isinstance(content, Inert):
        raise ValueError(f"{path} holds a pickled {content.name[:100]}, which is no torch module; it has no weights")
    entries = content.items() if isinstance(content, Mapping) else ()
    unread = {name: value for name, value in entries if isinstance(value, UnreadTensor) and isinstance(name, str)}
    if not unread:
        return state_dict_of(content, path)
    tensors = {name: value for name, value in content.items() if name not in unread}
    return {**state_dict_of(tensors, path), **_without_wrapper(unread)}


def _without_wrapper(weights: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("module."): value for name, value in weights.items()}


def read_codebook(path: str | Path, key: str | None = None) -> Tensor:
    """Read the codebook in a file: a plain tensor, a `.npy` file, a token store, or any file that a preset reads.

    A file without one is a `ValueError`, as is one that is not 2-d, or holds anything but finite floats.
    """
    path = Path(path)
    if path.is_dir() or path.suffix == ".npy" or not path.is_file():
        return torch.from_numpy(load_codebook(path))
    content = _read(path)
    alone = isinstance(content, (Tensor, UnreadTensor))
    rows = content if alone else _named_codebook(_weights_of(content, path, key), path)
    return torch.from_numpy(checked_codebook(codebook_array(readable({"codebook": rows}, path)["codebook"]), path))


def _named_codebook(weights: Mapping[str, Tensor | UnreadTensor], path: Path) -> Tensor | UnreadTensor:
    weights, _ = first_stage(weights)
    found = [name for name in _CODEBOOK_NAMES if name in weights]
    if not found:
        raise ValueError(f"{path} holds no codebook; expected a tensor, or one named {', '.join(_CODEBOOK_NAMES)}")
    return weights[found[0]]


def convert_tokenizer(
    preset: str,
    source: str | Path,
    target: str | Path,
    codebook: str | Path | None = None,
    probe: bool = True,
    key: str | None = None,
) -> Conversion:
    """Convert the published file of a tokenizer to ours.

    Args:
        preset: Key of `PRESETS`.
        source: Published file: `.pth`, `.ckpt` or whatever torch wrote, or `.safetensors`.
        target: File to write, tensors only; `.safetensors`, or torch's format with any other suffix.
        codebook: File of a codebook that takes the place of the source's, such as SeiT's of 391 codes.
        probe: Whether to check the range of pixel values by reconstructing a ramp, where there is a decoder.
        key: See `read_published`.

    Raises:
        ValueError: The source is not the preset's, or converted already, or the probe failed; nothing is written.
    """
    subset_file = Path(target).with_suffix(".code_subset.npy")
    for read in (source, codebook or source):
        check_other_file(read, target)
        check_other_file(read, subset_file)
    content = _read(Path(source))
    _refuse_converted(content, source)
    entry = key or taken_entry(content)
    weights = _weights_of(content, source, key)
    if codebook is not None:
        weights[PRESETS[preset].family.their_name("codebook", 0)] = read_codebook(codebook)
    converted = from_published(weights, preset, source=source)
    result = _probed(preset, converted, source) if probe and converted.has_decoder else None
    save_weights(target, converted.weights, {"preset": preset, "converted_from": Path(source).name})
    if converted.used_codes is not None:
        with written_whole(subset_file) as temporary, open(temporary, "wb") as file:
            np.save(file, converted.used_codes.numpy())
    others = tuple(name for name in weight_entries(content) if name != entry)
    subset = subset_file if converted.used_codes is not None else None
    return Conversion(converted, result, subset, entry, others if entry is not None else ())


def export_tokenizer(preset: str, source: str | Path, target: str | Path) -> dict[str, Tensor]:
    """Write a tokenizer of ours under its published names, where its authors' loader looks for them.

    Args:
        preset: Key of `PRESETS`.
        source: A converted file, or a checkpoint of a run that trained a tokenizer; another is a `ValueError`.
        target: File to write: `.safetensors`, or torch's format with any other suffix.

    Returns:
        The published names and their tensors; without the decoder where the source has none.
    """
    check_other_file(source, target)
    content = load_checkpoint_file(source)
    weights = state_dict_of(content, source)
    weights = trained_weights(weights) or weights
    check_preset(content, preset, source)
    check_finite(weights, source)
    renamed = to_published(weights, preset)
    meta, key = {"exported_as": preset}, PRESETS[preset].family.weights_key
    if key == "state_dict" or Path(target).suffix == SAFETENSORS_SUFFIX:
        save_weights(target, renamed, meta)
    else:
        save_torch(target, {"meta": meta, key: standalone(renamed)})
    return renamed


def _refuse_converted(content: Any, source: str | Path) -> None:
    meta = content.get("meta") if isinstance(content, Mapping) else None
    found = meta.get("preset") if isinstance(meta, Mapping) else None
    if isinstance(found, str):
        raise ValueError(
            f"{source} is already converted, as {found[:100]}; give it to the tokenizer's `checkpoint`, or convert it "
            "back with --to-release"
        )


def _probed(preset: str, converted: Converted, source: str | Path) -> RangeProbe:
    tokenizer = PRESETS[preset].build().eval()
    tokenizer.load_weights(converted.weights, source)
    try:
        return probe_pixel_range(tokenizer)
    except ValueError as error:
        raise ValueError(f"{source} as {preset}: {error}. --no-probe converts it all the same") from error


def _read(path: Path) -> Any:
    """Read a file's content; of torch's files also what is no plain value, as inert records."""
    return load_checkpoint_file(path) if path.suffix == SAFETENSORS_SUFFIX else load_torch_file(path, inert=True)
