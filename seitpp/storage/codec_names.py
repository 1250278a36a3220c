"""Every codec by its name, and its entry in `header.json`."""

from dataclasses import asdict
from typing import Any

from seitpp.io.untrusted import shown
from seitpp.storage.codecs import BitPackedCodec, FixedWidthCodec, RawCodec, check_codebook_size
from seitpp.storage.zstd_codec import ZstdCodec

Codec = FixedWidthCodec | ZstdCodec

CODECS: dict[str, type[RawCodec] | type[BitPackedCodec] | type[ZstdCodec]] = {
    codec.name: codec for codec in (RawCodec, BitPackedCodec, ZstdCodec)
}
_FORMER_CODECS = ("rans", "rans-context")


def build_codec(name: str, codebook_size: int, channels: int | None = None) -> Codec:
    """The codec called `name` for codes in [0, codebook_size), of samples with `channels` if there are any.

    Raises:
        ValueError: No codec has that name, or the codebook size is not one that a store can hold.
    """
    if not isinstance(name, str) or name not in CODECS:
        raise ValueError(f"codec is {shown(name)}, expected one of {', '.join(sorted(CODECS))}")
    codebook_size, codec = check_codebook_size(codebook_size), CODECS[name]
    return codec.for_codebook(codebook_size, channels or 1) if codec is ZstdCodec else codec.for_codebook(codebook_size)


def codec_to_header(codec: Codec) -> dict[str, Any]:
    """The header entry of a codec: its name and parameters."""
    parameters = asdict(codec)  # type: ignore[call-overload]
    parameters.pop("num_channels", None)  # an entry of its own
    return {"name": codec.name, **parameters}


def codec_from_header(entry: dict[str, Any], codebook_size: int, channels: int | None = None) -> Codec:
    """The codec that a header entry describes, of samples with `channels` if there are any.

    Raises:
        ValueError: The codec is unknown or of an earlier format, or its parameters do not belong to `codebook_size`.
    """
    if entry.get("name") in _FORMER_CODECS:
        raise ValueError(
            f"codec is {shown(entry['name'])} of an earlier format, which is read no more: convert the store with the "
            "release of seitpp that wrote it (0.1), there `python tools/convert_store.py STORE OUT --codec bitpacked`, "
            "and use OUT"
        )
    codec = build_codec(entry.get("name", ""), codebook_size, channels)
    if (expected := codec_to_header(codec)) != entry:
        raise ValueError(f"codec is {shown(entry)}, expected {expected!r} for a codebook of {codebook_size}")
    return codec
