"""What tells two tokenizers apart, and the one check that data, weights and networks belong to the same.

An identity is a plain dict of what is known of a tokenizer: `channels` (integers per position, None for one code),
`codebook_size`, `codebook_sha256`, and the settings that change tokens beside the codebook. Two identities are compared
in what both know.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from seitpp.structures.grid_record import by
from seitpp.tokenizers.codebook import codebook_sha256

_SETTINGS = (
    *("type", "weights_sha256", "quality", "luma_coefficients", "chroma_coefficients", "in_channels"),
    *("resize_mode", "resize"),
)
# The value of a setting that a store or checkpoint does not mention.
_IMPLIED = {"resize": "bicubic"}


def codebook_identity(codebook: Tensor | np.ndarray | None, channels: int | None = None) -> dict[str, Any]:
    """Return the identity of codes of a codebook (K, D), or without one that of `channels` integers per position."""
    if codebook is None:
        return {"channels": channels}
    return {"channels": channels, "codebook_size": len(codebook), "codebook_sha256": codebook_sha256(codebook)}


def settings_identity(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings, of a tokenizer's `describe()`, that change its tokens; None where no type is given."""
    if "type" not in description:
        return None
    identity = {key: description[key] for key in _SETTINGS if description.get(key) is not None}
    positions, size = description.get("positions"), description.get("image_size")
    if positions is not None and isinstance(size, (list, tuple)) and len(size) == 2:
        is_one_tile = positions == "tiles" and list(size) == [description.get("tile_size")] * 2
        if not is_one_tile:  # tokens of other image sizes go together, however each was made
            identity[f"positions at {by(size)} pixels"] = positions
    return identity


def data_identity(metainfo: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a data set's `metainfo` knows of its tokens' codebook."""
    identity = {key: metainfo[key] for key in ("codebook_size", "codebook_sha256") if metainfo.get(key) is not None}
    # A data set of images has neither codes nor values.
    return {"channels": metainfo.get("channels"), **identity} if identity or "channels" in metainfo else {}


def identity_difference(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> str | None:
    """Return where two identities differ, such as `quality 50 and 90`; None where nothing known of both does."""
    if not first or not second:
        return None
    first, second = {**_IMPLIED, **first}, {**_IMPLIED, **second}
    common = sorted(first.keys() & second.keys())
    different = [
        f"{key} {_shown(key, first[key])} and {_shown(key, second[key])}" for key in common if first[key] != second[key]
    ]
    return ", ".join(different) or None


def check_same_tokenizer(
    first: Mapping[str, Any] | None,
    what: str,
    second: Mapping[str, Any] | None,
    other: str,
    advice: str = "Use data, codebook and weights of one tokenizer",
) -> None:
    """Raise `ValueError` unless two identities, None if nothing is known, may be of one tokenizer.

    `what` and `other` name what they are of: data, a checkpoint or a network.
    """
    if difference := identity_difference(first, second):
        raise ValueError(f"{what} and {other} belong to different tokenizers: {difference}. {advice}")


def _shown(key: str, value: Any) -> str:
    if value is None:
        return "none"
    return str(value)[:12] if key.endswith("sha256") else str(value)
