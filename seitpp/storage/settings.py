"""What a store is, apart from where it lies: enough to encode any of its shards in any process."""

import io
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from seitpp.storage import format as store_format
from seitpp.storage.codec_names import Codec, build_codec, codec_to_header
from seitpp.storage.codecs import BitPackedCodec, check_codebook_size, code_dtype
from seitpp.storage.header_checks import check_grid, check_labels_entry, check_values
from seitpp.storage.numbering import CodeTable
from seitpp.storage.shard import SHARD_HEADER, encode_samples
from seitpp.storage.synonyms import dump_synonyms
from seitpp.storage.tokenizer_entry import check_tokenizer_entry

_MOST_SHARD_BYTES = 2**40


@dataclass(frozen=True, eq=False, kw_only=True)
class StoreSettings:
    """Everything that fixes the bytes of a store but its samples; can be pickled and sent to other processes.

    Args:
        codebook_size: Number of codes K, 1..2**18.
        grid: Rows and columns of a token map (H, W).
        tokenizer: What made the tokens: `name` and anything else as JSON, for example `preprocessing`.
        samples_per_shard: Samples that a shard may hold, at least 1.
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

    Raises:
        ValueError: Something is out of range or contradicts something else.
    """

    codebook_size: int
    grid: tuple[int, int]
    tokenizer: dict[str, Any]
    samples_per_shard: int
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

    def __post_init__(self) -> None:
        if type(self.samples_per_shard) is not int or self.samples_per_shard < 1:
            raise ValueError(f"samples_per_shard is {self.samples_per_shard!r}, expected a positive integer")
        check_codebook_size(self.codebook_size)
        check_values(int(self.codebook_size), self.channels, self.minimum)
        if self.channels is not None or self.minimum:
            for name in ("codebook", "synonyms", "code_table"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} was given, but samples with channels or a minimum are no codes of one")
        check_grid(self.grid, self.channels)
        check_labels_entry(self._labels_entry)
        check_tokenizer_entry(self.tokenizer)
        self.files()
        self.header()

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a sample: (H, W), or (H, W, C) with channels."""
        return tuple(self.grid) if self.channels is None else (*self.grid, self.channels)

    def header(self) -> dict[str, Any]:
        """The entries of `header.json` that are fixed; a writer adds `num_samples`, `complete` and `shards`."""
        optional = {
            "synonyms": self._synonyms_file[1],
            "channels": self.channels,
            "minimum": self.minimum or None,
            "code_table": None if self.code_table is None else self.code_table.header_entry(),
        }
        return {
            "format": store_format.FORMAT,
            "version": store_format.VERSION,
            "tokenizer": store_format.json_copy(self.tokenizer, "tokenizer"),
            "codebook_size": int(self.codebook_size),
            "codebook": self._codebook_file[1],
            "grid": list(self.grid),
            "codec": codec_to_header(self._codec),
            "labels": self._labels_entry,
            "classes": None if self.classes is None else [str(name) for name in self.classes],
            **{key: value for key, value in optional.items() if value is not None},
            "source": store_format.json_copy(self.source or {}, "source"),
            "samples_per_shard": self.samples_per_shard,
        }

    def files(self) -> dict[str, bytes]:
        """The files beside the shards, by name: codebook, synonyms and code table, those that there are."""
        files = {
            store_format.CODEBOOK_FILE: self._codebook_file[0],
            store_format.SYNONYMS_FILE: self._synonyms_file[0],
            store_format.CODE_TABLE_FILE: self._code_table_file,
        }
        return {name: content for name, content in files.items() if content is not None}

    def samples_within(self, shard_bytes: int) -> int:
        """Samples of a full shard that should not exceed `shard_bytes`; at least one.

        Rows of `zstd` count as if they were bit-packed, so that their shards come out smaller.
        """
        if not 1 <= shard_bytes <= _MOST_SHARD_BYTES:
            raise ValueError(f"shard_bytes is {shard_bytes}, expected a positive number up to {_MOST_SHARD_BYTES}")
        num_codes = math.prod(self.sample_shape)
        packed = BitPackedCodec.for_codebook(self.codebook_size)
        row_bytes = self._codec.row_bytes(num_codes) or packed.row_bytes(num_codes)
        label_bytes = store_format.label_layout(self._labels_entry)[1]
        fixed = SHARD_HEADER.size + 14  # the header, and at most 7 bytes of padding twice
        return max(1, (shard_bytes - fixed) // (row_bytes + label_bytes + 4))

    def encode_shard(self, tokens: np.ndarray, labels: np.ndarray | None = None) -> bytes:
        """The complete bytes of one shard; a pure function of the settings and the arguments.

        Args:
            tokens: Samples (n, *sample_shape) of any integer type with values in [m, m + K); n in 1..samples_per_shard.
            labels: Class indices (n,) of any integer type; given exactly if the label kind is `class`.

        Raises:
            ValueError: Something is out of range or of the wrong shape or type.
        """
        codes = self.checked_codes(tokens)
        return self.encode_checked(codes, self.checked_labels(labels, len(codes)))

    def encode_checked(self, codes: np.ndarray, labels: np.ndarray | None) -> bytes:
        """`encode_shard` of what `checked_codes` and `checked_labels` returned."""
        if not 1 <= len(codes) <= self.samples_per_shard:
            raise ValueError(f"{len(codes)} samples were given for a shard, expected 1 to {self.samples_per_shard}")
        dtype, num_bytes = store_format.label_layout(self._labels_entry)
        label_bytes = np.zeros((len(codes), 0), np.uint8)
        if labels is not None and dtype is not None:
            label_bytes = np.ascontiguousarray(labels, dtype).view(np.uint8).reshape(len(codes), num_bytes)
        return encode_samples(self._codec, codes, label_bytes)

    def checked_codes(self, tokens: np.ndarray, first_sample: int = 0) -> np.ndarray:
        """Check samples (n, *sample_shape) and return them as codes (n, T) in the smallest type.

        Args:
            tokens: The samples.
            first_sample: Number of the first one, for errors.
        """
        tokens = np.asarray(tokens)
        if not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"tokens have type {tokens.dtype}, expected integers")
        if tokens.shape[1:] != self.sample_shape or tokens.ndim != len(self.sample_shape) + 1:
            expected = ", ".join(map(str, self.sample_shape))
            raise ValueError(f"tokens have shape {tokens.shape}, expected (n, {expected})")
        low, high = self.minimum, self.minimum + self.codebook_size
        if tokens.size and (tokens.min() < low or tokens.max() >= high):
            sample, *place = np.argwhere((tokens < low) | (tokens >= high))[0]
            where = ", ".join(f"{name} {at}" for name, at in zip(("row", "column", "channel"), place, strict=False))
            value = tokens[(sample, *place)]
            raise ValueError(f"sample {first_sample + sample}: code {value} at {where} is not in [{low}, {high})")
        if low:
            tokens = tokens.astype(np.int64) - low
        return tokens.reshape(len(tokens), math.prod(self.sample_shape)).astype(
            code_dtype(self.codebook_size), copy=False
        )

    def checked_labels(self, labels: np.ndarray | None, num_samples: int, first_sample: int = 0) -> np.ndarray | None:
        """Check class indices (n,) against the label kind, their type and the classes; None for a store without."""
        dtype, _ = store_format.label_layout(self._labels_entry)
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
        """Kind and stored type of the labels."""
        dtype = self.label_dtype
        if self.label_kind == "class" and dtype is None:
            dtype = "uint16" if self.classes is None else store_format.smallest_label_dtype(len(self.classes))
        return {"kind": self.label_kind, "dtype": dtype}

    @cached_property
    def _codebook_file(self) -> tuple[bytes | None, dict[str, Any] | None]:
        """Content of `codebook.npy` and its header entry."""
        if self.codebook is None:
            return None, None
        codebook = np.asarray(self.codebook)
        if codebook.ndim != 2 or len(codebook) != self.codebook_size or not np.issubdtype(codebook.dtype, np.floating):
            raise ValueError(
                f"codebook is {codebook.dtype} of shape {codebook.shape}, expected floats ({self.codebook_size}, D)"
            )
        stored = np.ascontiguousarray(codebook, dtype="<f4")
        if (wrong := np.flatnonzero(~np.isfinite(stored).all(axis=1))).size:
            raise ValueError(f"row {wrong[0]} of the codebook is not finite in float32; give a sound one")
        file = io.BytesIO()
        np.save(file, stored, allow_pickle=False)
        return file.getvalue(), {
            "file": store_format.CODEBOOK_FILE,
            "shape": list(stored.shape),
            "dtype": "float32",
            "sha256": store_format.codebook_sha256(stored),
        }

    @cached_property
    def _synonyms_file(self) -> tuple[bytes | None, dict[str, Any] | None]:
        """Content of `synonyms.json` and its header entry."""
        if self.synonyms is None:
            return None, None
        for code, similar in self.synonyms.items():
            if not all(0 <= int(value) < self.codebook_size for value in (code, *similar)):
                raise ValueError(
                    f"synonyms of code {code} are {list(similar)!r}, expected codes in [0, {self.codebook_size})"
                )
        content = dump_synonyms(self.synonyms)
        return content, {"file": store_format.SYNONYMS_FILE, "sha256": store_format.sha256_hex(content)}

    @cached_property
    def _code_table_file(self) -> bytes | None:
        """Content of `code_table.npy`."""
        if self.code_table is None:
            return None
        if len(self.code_table.codes) != self.codebook_size:
            raise ValueError(
                f"code_table has {len(self.code_table.codes)} entries, expected one for each of the "
                f"{self.codebook_size} codes"
            )
        return self.code_table.file()


def shard_entry(name: str, content: bytes, num_samples: int) -> dict[str, Any]:
    """What the header's list says of a shard: file name, samples, size and hash."""
    return {
        "file": name,
        "num_samples": num_samples,
        "num_bytes": len(content),
        "sha256": store_format.sha256_hex(content),
    }
