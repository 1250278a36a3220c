"""Codes on disk: codecs, the token store with its writer and reader, and the authors' release files.

Needs only numpy and the standard library.
"""

from seitpp.storage.codecs import CODECS, BitPackedCodec, Codec, RawCodec, build_codec, code_dtype
from seitpp.storage.format import NotAStoreError
from seitpp.storage.reader import StoreReader
from seitpp.storage.release_bytes import decode_release_bytes, encode_release_bytes
from seitpp.storage.release_transfer import ExportedFile, ReleaseImport, import_release, write_release
from seitpp.storage.seit_release import SeitRelease, is_release
from seitpp.storage.source import TokenSource, open_source
from seitpp.storage.stats import StoreStats, store_stats
from seitpp.storage.synonyms import load_synonyms
from seitpp.storage.writer import StoreWriter, copy_store

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
    "is_release",
    "load_synonyms",
    "open_source",
    "store_stats",
    "write_release",
]
