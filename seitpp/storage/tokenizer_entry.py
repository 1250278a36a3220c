"""A store header's entry on its tokenizer: checks, and the options that build the tokenizer again.

Anybody may have written a header, so all of it is data: the type is a plain name, which is looked up among the
registered tokenizers and never imported, and options are numbers, text and lists of them.
"""

from collections.abc import Mapping
from typing import Any

from seitpp.io.text import shown

# Metadata for people and other readers, which no constructor takes.
_NOT_OPTIONS = ("name", "preprocessing", "distance", "weights_sha256", "checkpoint", "spatial")
_DISTANCE_OF_TYPE = {"PatchKMeans": "euclidean"}  # tokenizers that need not say it

# Entries of one kind whatever the type of the tokenizer.
_KINDS = {
    "type": str,
    "distance": str,
    "checkpoint": (str, type(None)),
    "weights_sha256": str,
    "spatial": bool,
    "code_subset": list,
}
# Keys by which mmengine's registries find what to build.
_BUILDS = ("type", "_scope_", "_base_", "_delete_")
# No size of a network, an image or a codebook comes near it; layers are fewer, and each is an object to build.
MAX_OPTION = 2**20
_MOST_LAYERS = {"depth": 256, "num_res_blocks": 64}
_MOST_LEVELS = 32


def check_tokenizer_entry(tokenizer: Mapping[str, Any]) -> None:
    """Raise `ValueError` unless the type is a plain name and no entry is of a wrong kind; builds nothing."""
    for key, kinds in _KINDS.items():
        if key in tokenizer and not isinstance(tokenizer[key], kinds):
            raise ValueError(f"tokenizer.{key} is {shown(tokenizer[key])}, which is not of the expected JSON type")
    kind = tokenizer.get("type", "Tokenizer")
    if not (kind.isascii() and kind.isidentifier()):
        raise ValueError(
            f"tokenizer.type is {shown(kind)}, expected the plain name of a tokenizer, such as 'ViTVQGAN'; a name with "
            "dots would import code, so this header is forged. Do not use the store"
        )


def _check_option(value: Any, name: str) -> None:
    """Raise `ValueError` unless a JSON value is made of plain values that a constructor can sensibly be given."""
    if isinstance(value, dict):
        if named := [key for key in _BUILDS if key in value]:
            raise ValueError(f"{name} has a {named[0]!r}, {shown(value[named[0]])}, expected sizes and plain settings")
        for key, inner in value.items():
            _check_option(inner, f"{name}.{key}")
    elif isinstance(value, list):
        if len(value) > _MOST_LEVELS and name != "tokenizer.code_subset":
            raise ValueError(f"{name} is a list of {len(value)}, expected at most {_MOST_LEVELS} numbers")
        for inner in value:
            _check_option(inner, name)
    elif isinstance(value, int | float):
        most = _MOST_LAYERS.get(name.rpartition(".")[2], MAX_OPTION)
        if not 0 <= value <= most:
            raise ValueError(f"{name} is {shown(value)}, expected a number in 0..{most}")


def tokenizer_options(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config that builds a header's tokenizer again, but for weights and codebook; it has a `type`.

    An option of no size that a tokenizer can have, or one that names something else to build, is a `ValueError`.
    """
    check_tokenizer_entry(entry)
    options = {key: value for key, value in entry.items() if key not in (*_NOT_OPTIONS, "type")}
    for key, value in options.items():
        _check_option(value, f"tokenizer.{key}")
    size = options.get("image_size", 1)
    sides = size if isinstance(size, list) else [size, size]
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise ValueError(f"tokenizer.image_size is {shown(size)}, expected [height, width]")
    return {**options, "type": f"seitpp.{entry['type']}"}


def known_distance(entry: Mapping[str, Any]) -> str | None:
    """Return the distance by which a tokenizer finds the nearest code, `cosine` or `euclidean`; None if not told."""
    return entry.get("distance", _DISTANCE_OF_TYPE.get(entry.get("type")))


def tokenizer_name(entry: Mapping[str, Any]) -> str:
    """Return what people call a tokenizer: its type and, in brackets, the name that its maker gave it."""
    kind, name = entry.get("type"), entry.get("name")
    return f"{kind} ({name})" if kind and name else str(kind or name or "unknown")
