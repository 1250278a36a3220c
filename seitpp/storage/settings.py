"""What a store is, apart from where it lies: enough to encode any of its shards in any process."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from seitpp.storage import header as store_header
from seitpp.storage.code_table import CodeTable
from seitpp.storage.codecs import BitPackedCodec, Codec, build_codec, check_codebook_size, code_dtype, codec_to_header
from seitpp.storage.header import check_grid, check_labels_entry, check_values, sha256_hex
from seitpp.storage.shard import SHARD_HEADER, encode_samples
from seitpp.storage.side_files import dump_synonyms, npy_bytes
from seitpp.storage.tokenizer_entry import check_tokenizer_entry

DEFAULT_SHARD_BYTES = 64 * 2**20
_MOST_SHARD_BYTES = 2**40


@dataclass(frozen=True, eq=False, kw_only=True)
class StoreSettings:
    """Everything that fixes the bytes of a store but its samples; can be pickled and sent to other processes.

    Args:
        codebook_size: Number of codes K, 1..2**18.
        grid: Rows and columns of a token map (H, W).
        tokenizer: What made the tokens: `name` and anything else as JSON, for example `preprocessing`.
        codebook: Code vectors (K, D), kept as float32; None for samples with channels or a minimum.
        codec: How rows are stored, one of `CODECS`.
        label_kind: `class` for one index per sample; `none`; or `segmentation` for maps that the application keeps
            under `labels/` in the folder.
        classes: Class names; labels must then be below their number.
        label_dtype: Stored type of class labels. By default the smallest for `classes`, or uint16 without names.
        source: Where the samples come from, as JSON.
        synonyms: Similar codes for each code, best first, kept beside the tokens; those of `load_synonyms` as the bytes
            of their file.
        channels: C for samples (H, W, C), such as quantised coefficients; None for plain codes (H, W).
        minimum: Smallest value m; values are in [m, m + K), and code value - m is stored.
        code_table: Which codes of a larger codebook the codes stand for.
        shard_bytes: Size that a shard should not exceed. Rows of `zstd` count as if they were bit-packed, so that
            their shards come out smaller.
        samples_per_shard: Samples that a shard may hold, at least 1; by default as many as fit into `shard_bytes`.

    Raises:
        ValueError: Something is out of range or contradicts something else.
    """

    codebook_size: int
    grid: tuple[int, int]
    tokenizer: dict[str, Any]
    codebook: np.ndarray | None = None
    codec: str = "bitpacked"
    label_kind: str = "none"
    classes: list[str] | None = None
    label_dtype: str | None = None
    source: dict[str, Any] | None = None
    synonyms: dict[int, list[int]] | None = None
    channels: int | None = None
    minimum: int = 0
    code_table: CodeTable | None = None
    shard_bytes: int = DEFAULT_SHARD_BYTES
    samples_per_shard: int | None = None

    def __post_init__(self) -> None:
        check_codebook_size(self.codebook_size)
        check_values(int(self.codebook_size), self.channels, self.minimum)
        if self.channels is not None or self.minimum:
            for name in ("codebook", "synonyms", "code_table"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} was given, but samples with channels or a minimum are no codes of one")
        check_grid(self.grid, self.channels)
        check_labels_entry(self._labels_entry)
        check_tokenizer_entry(self.tokenizer)
        if self.samples_per_shard is None:
            object.__setattr__(self, "samples_per_shard", self._samples_within(self.shard_bytes))
        if type(self.samples_per_shard) is not int or self.samples_per_shard < 1:
            raise ValueError(f"samples_per_shard is {self.samples_per_shard!r}, expected a positive integer")
        self.header()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.grid) if self.channels is None else (*self.grid, self.channels)

    def header(self) -> dict[str, Any]:
        """Return the entries of `header.json` that are fixed; a writer adds `num_samples`, `complete` and `shards`."""
        beside = {name: entry for name, (_, entry) in self._side_files.items()}
        optional = {"channels": self.channels, "minimum": self.minimum or None}
        return {
            "format": store_header.FORMAT,
            "version": store_header.VERSION,
            "tokenizer": store_header.json_copy(self.tokenizer, "tokenizer"),
            "codebook_size": int(self.codebook_size),
            "codebook": beside.pop("codebook", None),
            "grid": list(self.grid),
            "codec": codec_to_header(self._codec),
            "labels": self._labels_entry,
            "classes": None if self.classes is None else [str(name) for name in self.classes],
            **beside,
            **{name: value for name, value in optional.items() if value is not None},
            "source": store_header.json_copy(self.source or {}, "source"),
            "samples_per_shard": self.samples_per_shard,
        }

    def files(self) -> dict[str, bytes]:
        """Return the files beside the shards, by name: codebook, synonyms and code table, those that there are."""
        return {entry["file"]: content for content, entry in self._side_files.values()}

    def _samples_within(self, shard_bytes: int) -> int:
        """Return how many samples a full shard has that should not exceed `shard_bytes`; at least one."""
        if not 1 <= shard_bytes <= _MOST_SHARD_BYTES:
            raise ValueError(f"shard_bytes is {shard_bytes}, expected a positive number up to {_MOST_SHARD_BYTES}")
        num_codes = math.prod(self.sample_shape)
        packed = BitPackedCodec.for_codebook(self.codebook_size)
        row_bytes = self._codec.row_bytes(num_codes) or packed.row_bytes(num_codes)
        label_bytes = store_header.label_layout(self._labels_entry)[1]
        fixed = SHARD_HEADER.size + 14  # the header, and at most 7 bytes of padding twice
        return max(1, (shard_bytes - fixed) // (row_bytes + label_bytes + 4))

    def encode_shard(self, tokens: np.ndarray, labels: np.ndarray | None = None) -> bytes:
        """Return the complete bytes of one shard; a pure function of the settings and the arguments.

        Takes up to `samples_per_shard` samples and their labels as `StoreWriter.append` does, and has its errors.
        """
        codes = self.checked_codes(tokens)
        return self.encode_checked(codes, self.checked_labels(labels, len(codes)))

    def encode_checked(self, codes: np.ndarray, labels: np.ndarray | None) -> bytes:
        """Return `encode_shard` of what `checked_codes` and `checked_labels` returned."""
        if not 1 <= len(codes) <= self.samples_per_shard:
            raise ValueError(f"{len(codes)} samples were given for a shard, expected 1 to {self.samples_per_shard}")
        dtype, num_bytes = store_header.label_layout(self._labels_entry)
        label_bytes = np.zeros((len(codes), 0), np.uint8)
        if labels is not None and dtype is not None:
            label_bytes = np.ascontiguousarray(labels, dtype).view(np.uint8).reshape(len(codes), num_bytes)
        return encode_samples(self._codec, codes, label_bytes)

    def checked_codes(self, tokens: np.ndarray, first_sample: int = 0) -> np.ndarray:
        """Check samples (n, *sample_shape) and return them as codes (n, T) in the smallest type."""
        tokens = np.asarray(tokens)
        if not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"tokens have type {tokens.dtype}, expected integers")
        if tokens.shape[1:] != self.sample_shape or tokens.ndim != len(self.sample_shape) + 1:
            expected = ", ".join(map(str, self.sample_shape))
            raise ValueError(f"tokens have shape {tokens.shape}, expected (n, {expected})")
        low, high = self.minimum, self.minimum + self.codebook_size
        if tokens.size and (tokens.min() < low or tokens.max() >= high):
            sample, *position = first = tuple(np.argwhere((tokens < low) | (tokens >= high))[0])
            where = ", ".join(f"{name} {at}" for name, at in zip(("row", "column", "channel"), position, strict=False))
            value = tokens[first]
            raise ValueError(f"sample {first_sample + sample}: code {value} at {where} is not in [{low}, {high})")
        if low:
            tokens = tokens.astype(np.int64) - low
        codes = tokens.reshape(len(tokens), math.prod(self.sample_shape))
        return codes.astype(code_dtype(self.codebook_size), copy=False)

    def checked_labels(self, labels: np.ndarray | None, num_samples: int, first_sample: int = 0) -> np.ndarray | None:
        """Check class indices (n,) against the label kind, their type and the classes; None for a store without."""
        dtype, _ = store_header.label_layout(self._labels_entry)
        if dtype is None:
            if labels is not None:
                raise ValueError(f"labels were given, but the label kind of the store is {self.label_kind!r}")
            return None
        if labels is None:
            raise ValueError("labels are missing: the label kind of the store is 'class'")
        labels = np.asarray(labels)
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (num_samples,):
            raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}, expected integers ({num_samples},)")
        limit = int(np.iinfo(dtype).max) + 1 if self.classes is None else len(self.classes)
        if (wrong := np.flatnonzero((labels < 0) | (labels >= limit))).size:
            sample = wrong[0]
            reason = f"{limit} classes" if self.classes is not None else f"label_dtype {dtype}"
            raise ValueError(
                f"sample {first_sample + sample}: label {labels[sample]} is not in [0, {limit}) ({reason})"
            )
        return labels

    @cached_property
    def _codec(self) -> Codec:
        return build_codec(self.codec, self.codebook_size, self.channels)

    @cached_property
    def _labels_entry(self) -> dict[str, Any]:
        dtype = self.label_dtype
        if self.label_kind == "class" and dtype is None:
            dtype = "uint16" if self.classes is None else store_header.smallest_label_dtype(len(self.classes))
        return {"kind": self.label_kind, "dtype": dtype}

    @cached_property
    def _side_files(self) -> dict[str, tuple[bytes, dict[str, Any]]]:
        """Content and header entry of the files beside the shards, by the name of the entry."""
        files = {
            "codebook": None if self.codebook is None else self._codebook_file(np.asarray(self.codebook)),
            "synonyms": None if self.synonyms is None else self._synonyms_file(self.synonyms),
            "code_table": None if self.code_table is None else self._code_table_file(self.code_table),
        }
        return {name: file for name, file in files.items() if file is not None}

    def _codebook_file(self, codebook: np.ndarray) -> tuple[bytes, dict[str, Any]]:
        if codebook.ndim != 2 or len(codebook) != self.codebook_size or not np.issubdtype(codebook.dtype, np.floating):
            raise ValueError(
                f"codebook is {codebook.dtype} of shape {codebook.shape}, expected floats ({self.codebook_size}, D)"
            )
        stored = np.ascontiguousarray(codebook, dtype="<f4")
        if (wrong := np.flatnonzero(~np.isfinite(stored).all(axis=1))).size:
            raise ValueError(f"row {wrong[0]} of the codebook is not finite in float32; give a sound one")
        entry = {"file": store_header.CODEBOOK_FILE, "shape": list(stored.shape), "dtype": "float32"}
        return npy_bytes(stored), {**entry, "sha256": sha256_hex(stored)}

    def _synonyms_file(self, synonyms: dict[int, list[int]]) -> tuple[bytes, dict[str, Any]]:
        for code, similar in synonyms.items():
            if not all(0 <= int(value) < self.codebook_size for value in (code, *similar)):
                raise ValueError(
                    f"synonyms of code {code} are {list(similar)!r}, expected codes in [0, {self.codebook_size})"
                )
        content = dump_synonyms(synonyms)
        return content, {"file": store_header.SYNONYMS_FILE, "sha256": sha256_hex(content)}

    def _code_table_file(self, table: CodeTable) -> tuple[bytes, dict[str, Any]]:
        if len(table.codes) != self.codebook_size:
            raise ValueError(
                f"code_table has {len(table.codes)} entries, expected one for each of the {self.codebook_size} codes"
            )
        stored = np.ascontiguousarray(table.codes, "<i4")
        entry = {"file": store_header.CODE_TABLE_FILE, "sha256": sha256_hex(stored)}
        return npy_bytes(stored), {**entry, "codebook_size": int(table.codebook_size)}
