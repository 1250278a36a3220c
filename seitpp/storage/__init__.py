"""Codes on disk: codecs, the token store with its writer and reader, and the authors' release files.

Needs only numpy, zstandard and the standard library.
"""

from seitpp.storage.bounds import conditional_bits
from seitpp.storage.class_subset import select_classes
from seitpp.storage.code_table import codes_in_use, match_rows, restore_store, subset_store
from seitpp.storage.codec_names import CODECS, Codec, build_codec
from seitpp.storage.codecs import BitPackedCodec, RawCodec, code_dtype
from seitpp.storage.format import NotAStoreError
from seitpp.storage.numbering import CodeTable
from seitpp.storage.reader import StoreReader
from seitpp.storage.release_bytes import decode_release_bytes, encode_release_bytes
from seitpp.storage.release_transfer import ExportedFile, ReleaseImport, import_release, write_release
from seitpp.storage.seit_release import SeitRelease, is_release
from seitpp.storage.settings import StoreSettings, shard_entry
from seitpp.storage.source import TokenSource, open_source
from seitpp.storage.stats import StoreStats, store_stats
from seitpp.storage.synonyms import load_synonyms
from seitpp.storage.writer import DEFAULT_SHARD_BYTES, StoreWriter, copy_store
from seitpp.storage.zstd_codec import ZstdCodec

__all__ = [
    "CODECS",
    "DEFAULT_SHARD_BYTES",
    "BitPackedCodec",
    "CodeTable",
    "Codec",
    "ExportedFile",
    "NotAStoreError",
    "RawCodec",
    "ReleaseImport",
    "SeitRelease",
    "StoreReader",
    "StoreSettings",
    "StoreStats",
    "StoreWriter",
    "TokenSource",
    "ZstdCodec",
    "build_codec",
    "code_dtype",
    "codes_in_use",
    "conditional_bits",
    "copy_store",
    "decode_release_bytes",
    "encode_release_bytes",
    "import_release",
    "is_release",
    "load_synonyms",
    "match_rows",
    "open_source",
    "restore_store",
    "select_classes",
    "shard_entry",
    "store_stats",
    "subset_store",
    "write_release",
]
