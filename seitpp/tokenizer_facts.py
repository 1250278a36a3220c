"""What a store's header says of its tokenizer: which of it builds the tokenizer again, and which tells two apart."""

from collections.abc import Mapping
from typing import Any

# Facts for people and other readers, which no constructor takes.
_NOT_OPTIONS = ("name", "preprocessing", "distance", "weights_sha256", "checkpoint", "spatial")
# What makes tokens other tokens, beside the codebook.
_IDENTITY = ("type", "weights_sha256", "quality", "luma_coefficients", "chroma_coefficients", "in_channels")

_DISTANCE_OF_TYPE = {"PatchKMeans": "euclidean"}  # tokenizers that need not say it


def tokenizer_options(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Config that builds a header's tokenizer again, but for weights and codebook; it has a `type`."""
    options = {key: value for key, value in facts.items() if key not in _NOT_OPTIONS}
    return {**options, "type": f"seitpp.{facts['type']}"}


def tokenizer_identity(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """Facts that tell a tokenizer from others with the same codebook or none; None where not even its type is known."""
    return {key: facts[key] for key in _IDENTITY if facts.get(key) is not None} if "type" in facts else None


def identity_difference(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> str | None:
    """In which facts, known of both, two tokenizers differ, such as `quality 50 and 90`; None where in none."""
    common = sorted((first or {}).keys() & (second or {}).keys())
    different = [f"{key} {first[key]} and {second[key]}" for key in common if first[key] != second[key]]
    return ", ".join(different) or None


def known_distance(facts: Mapping[str, Any]) -> str | None:
    """By which distance a tokenizer finds the nearest code, `cosine` or `euclidean`; None where that is not told."""
    return facts.get("distance", _DISTANCE_OF_TYPE.get(facts.get("type")))
