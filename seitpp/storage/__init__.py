"""Codes on disk: codecs, the token store with its writer and reader, and the authors' release files.

Needs only numpy and the standard library.
"""

from .codecs import CODECS, BitPackedCodec, Codec, RawCodec, build_codec, code_dtype
from .format import NotAStoreError
from .reader import StoreReader, StoreStats, TokenSource, store_stats
from .seit_release import (
    ExportedFile,
    ReleaseImport,
    SeitRelease,
    decode_release_bytes,
    encode_release_bytes,
    import_release,
    write_release,
)
from .writer import StoreWriter, copy_store

__all__ = [
    "CODECS",
    "BitPackedCodec",
    "Codec",
    "ExportedFile",
    "NotAStoreError",
    "RawCodec",
    "ReleaseImport",
    "SeitRelease",
    "StoreReader",
    "StoreStats",
    "StoreWriter",
    "TokenSource",
    "build_codec",
    "code_dtype",
    "copy_store",
    "decode_release_bytes",
    "encode_release_bytes",
    "import_release",
    "store_stats",
    "write_release",
]
