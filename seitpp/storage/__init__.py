"""Codes on disk: codecs, the token store with its writer and reader, and the authors' release files.

Needs only numpy, zstandard and the standard library.
"""

from seitpp.storage.code_table import CodeTable, codes_in_use, match_rows
from seitpp.storage.codecs import CODECS, BitPackedCodec, Codec, RawCodec, ZstdCodec, build_codec, code_dtype
from seitpp.storage.header import NotAStoreError, shard_entry
from seitpp.storage.merge import merge_stores
from seitpp.storage.reader import StoreReader
from seitpp.storage.release.escapes import decode_release_bytes, encode_release_bytes
from seitpp.storage.release.reader import SeitRelease, is_release, open_source
from seitpp.storage.release.transfer import ExportedFile, import_release, write_release
from seitpp.storage.rewrite import copy_store, restore_store, rewrite_store, select_classes, subset_store
from seitpp.storage.settings import DEFAULT_SHARD_BYTES, StoreSettings
from seitpp.storage.side_files import load_synonyms
from seitpp.storage.source import TokenSource
from seitpp.storage.stats import conditional_bits, store_stats
from seitpp.storage.subset import choose_subset
from seitpp.storage.writer import StoreWriter

__all__ = [
    "CODECS",
    "DEFAULT_SHARD_BYTES",
    "BitPackedCodec",
    "CodeTable",
    "Codec",
    "ExportedFile",
    "NotAStoreError",
    "RawCodec",
    "SeitRelease",
    "StoreReader",
    "StoreSettings",
    "StoreWriter",
    "TokenSource",
    "ZstdCodec",
    "build_codec",
    "choose_subset",
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
    "merge_stores",
    "open_source",
    "restore_store",
    "rewrite_store",
    "select_classes",
    "shard_entry",
    "store_stats",
    "subset_store",
    "write_release",
]
