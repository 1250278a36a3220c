"""A training checkpoint cut down to what others need: one set of weights, and what they are weights of."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

import seitpp
from seitpp.io.atomic_write import check_other_file, write_whole
from seitpp.io.checkpoint import check_finite, check_parts, checkpoint_bytes, load_checkpoint_file, state_dict_of
from seitpp.structures.grid_record import GRID_KEY

Weights = Literal["ema", "raw"]

SUFFIXES = (".pth", ".safetensors")
_DIGITS = 8  # of the hash in the name
# What is kept of a checkpoint's meta: the config (test.py and the inferencers follow its sizes), class names and the
# identity of codebook and tokenizer, the grid of tokens, how long it was trained, and where it was converted from.
_KEPT = ("cfg", "dataset_meta", GRID_KEY, "epoch", "iter", "mmengine_version", "converted_from")
_AVERAGED = "ema_state_dict"


class Published(NamedTuple):
    """What was written."""

    path: Path
    sha256: str
    weights: Weights
    num_values: int
    num_bytes: int
    meta: dict[str, Any]
    dropped: list[str]  # entries of the checkpoint, in its order


def publish(source: str | Path, target: str | Path, weights: Weights | None = None) -> Published:
    """Write a checkpoint's weights to a file named by their hash: `NAME-12345678.pth` for a target `NAME.pth`.

    The codebook is among the weights; class names and the identity of the tokenizer are in the meta.

    Args:
        source: A checkpoint of training, or any that `load_checkpoint_file` reads; nothing in it is run.
        target: Where to write, `.pth` or `.safetensors`.
        weights: `ema` (the moving average) or `raw`; by default what tools/test.py scores: the average if there is one.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It has no such weights, or they are NaN or infinite; or the target has another ending.
    """
    target = Path(target)
    if target.suffix not in SUFFIXES:
        raise ValueError(f"{target} ends in {target.suffix or 'nothing'}, expected {' or '.join(SUFFIXES)}")
    content = load_checkpoint_file(source)
    if isinstance(content, dict):
        check_parts(content, source)
    chosen, kind = _weights_of(content, source, weights)
    check_finite(chosen, f"checkpoint {source}")
    meta = (content.get("meta") or {}) if isinstance(content, Mapping) else {}
    kept = {key: meta[key] for key in _KEPT if meta.get(key) is not None}
    kept |= {"weights": kind, "seitpp_version": seitpp.__version__}
    try:
        written = checkpoint_bytes(target.suffix, chosen, kept)
    except (TypeError, ValueError) as error:
        raise ValueError(f"checkpoint {source}: its meta cannot be written as {target.suffix} ({error})") from error
    digest = hashlib.sha256(written).hexdigest()
    path = target.with_name(f"{target.stem}-{digest[:_DIGITS]}{target.suffix}")
    check_other_file(source, path)
    write_whole(path, written)
    parts = content if isinstance(content, Mapping) and "state_dict" in content else {}
    dropped = [key for key in parts if key not in ("meta", "state_dict")]
    count = sum(value.numel() for value in chosen.values())
    return Published(path, digest, kind, count, len(written), kept, dropped)


def _weights_of(content: Any, source: str | Path, wanted: Weights | None) -> tuple[dict[str, Tensor], Weights]:
    """Return the weights that are wanted, and which they are."""
    main = state_dict_of(content, source)
    if not isinstance(content, Mapping) or content.get(_AVERAGED) is None:
        meta = content.get("meta") if isinstance(content, Mapping) else None
        found: Weights = "ema" if (meta or {}).get("weights") == "ema" else "raw"  # as it was published before
        if wanted not in (None, found):
            others = "a moving average" if wanted == "ema" else "weights beside the moving average"
            raise ValueError(f"checkpoint {source} does not have {others}; leave out --weights {wanted}")
        return main, found
    # mmengine saves the average as `state_dict`, and the weights that were trained beside it.
    if wanted != "raw":
        return main, "ema"
    beside = state_dict_of({"state_dict": content[_AVERAGED]}, f"{source} (its {_AVERAGED})")
    raw = {name: beside[name] for name in main if name in beside}
    if missing := [name for name in main if name not in raw]:
        raise ValueError(f"checkpoint {source}: its {_AVERAGED} lacks {len(missing)} weights, such as {missing[0]!r}")
    return raw, "raw"
