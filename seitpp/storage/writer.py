"""Append-only writer of a token store: shards appear whole or not at all, and a killed run can be continued."""

import io
import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from seitpp.storage import format as store_format
from seitpp.storage.codecs import build_codec, code_dtype, codec_to_header
from seitpp.storage.format import ShardLayout
from seitpp.storage.synonyms import dump_synonyms

if TYPE_CHECKING:
    from seitpp.storage.reader import StoreReader

DEFAULT_SHARD_BYTES = 64 * 2**20
_OWN_FILES = re.compile(r"(header\.json|codebook\.npy|synonyms\.json|shard-\d{5,}\.bin)(\.tmp)?")


class StoreWriter:
    """Writes tokens, and class labels if there are any, into a new store or continues an interrupted one.

    The samples of a shard are collected in memory and committed together: the shard is written under a temporary name,
    renamed, then entered into the header. Killing the process loses at most the open shard. Shards are cut by sample
    count alone, so the finished files do not depend on batch sizes or interruptions.

    Args:
        path: Folder of the store. It must not exist or be empty, unless `resume` is set.
        codebook_size: Number of codes K, 1..2**18.
        grid: Rows and columns of a token map (H, W).
        tokenizer: What made the tokens: `name` and anything else as JSON, for example `preprocessing`.
        codebook: Code vectors (K, D), kept as float32.
        codec: How rows are stored, `bitpacked` or `raw`.
        label_kind: `class` to append one index per sample; `none`; or `segmentation` for maps that the
            application keeps under `labels/` in the folder.
        classes: Class names; labels must then be below their number.
        label_dtype: Stored type of class labels. By default the smallest for `classes`, or uint16 without names.
        source: Where the samples come from, as JSON.
        synonyms: Similar codes for each code, best first, kept beside the tokens; those of `load_synonyms` as the bytes
            of their file.
        shard_bytes: Size that a shard should not exceed.
        resume: Continue after the last committed sample if the store was begun before with the same settings.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        codebook_size: int,
        grid: tuple[int, int],
        tokenizer: dict[str, Any],
        codebook: np.ndarray | None = None,
        codec: str = "bitpacked",
        label_kind: str = "none",
        classes: list[str] | None = None,
        label_dtype: str | None = None,
        source: dict[str, Any] | None = None,
        synonyms: dict[int, list[int]] | None = None,
        shard_bytes: int = DEFAULT_SHARD_BYTES,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.codec = build_codec(codec, codebook_size)
        self.codebook_size = int(codebook_size)
        self.grid = store_format.check_grid(grid)
        if label_kind == "class" and label_dtype is None:
            label_dtype = "uint16" if classes is None else store_format.smallest_label_dtype(len(classes))
        labels = {"kind": label_kind, "dtype": label_dtype}
        store_format.check_labels_entry(labels)
        self._label_dtype, label_bytes = store_format.label_layout(labels)
        self._num_classes = len(classes) if classes is not None else None
        self._row_bytes = self.codec.row_bytes(self.grid[0] * self.grid[1])
        samples_per_shard = _samples_per_shard(shard_bytes, self._row_bytes, label_bytes)
        codebook_file, codebook_entry = _codebook_file(codebook, self.codebook_size)
        synonyms_file, synonyms_entry = _synonyms_file(synonyms, self.codebook_size)
        settings = {
            "format": store_format.FORMAT,
            "version": store_format.VERSION,
            "tokenizer": store_format.json_copy(tokenizer, "tokenizer"),
            "codebook_size": self.codebook_size,
            "codebook": codebook_entry,
            "grid": list(self.grid),
            "codec": codec_to_header(self.codec),
            "labels": labels,
            "classes": None if classes is None else [str(name) for name in classes],
            **({} if synonyms_entry is None else {"synonyms": synonyms_entry}),
            "source": store_format.json_copy(source or {}, "source"),
            "samples_per_shard": samples_per_shard,
        }
        self._updates: dict[str, Any] = {}
        self._rows = np.zeros((samples_per_shard, self._row_bytes), np.uint8)
        self._labels = np.zeros(samples_per_shard, self._label_dtype or np.uint8)
        self._fill = 0
        self._open = True
        if not self._resume(settings, resume):
            self.path.mkdir(parents=True, exist_ok=True)
            if codebook_file is not None:
                store_format.atomic_write(self.path / store_format.CODEBOOK_FILE, [codebook_file])
            if synonyms_file is not None:
                store_format.atomic_write(self.path / store_format.SYNONYMS_FILE, [synonyms_file])
            self._header = {**settings, "num_samples": 0, "complete": False, "shards": []}
            store_format.write_header(self.path, self._header)

    @property
    def num_samples(self) -> int:
        """Samples appended so far, those of earlier runs included."""
        return self.num_committed + self._fill

    @property
    def num_committed(self) -> int:
        """Samples that are safe on disk; a resumed run continues with the sample of this number."""
        return self._header["num_samples"]

    @property
    def complete(self) -> bool:
        """Whether the store has been closed, now or by an earlier run."""
        return self._header["complete"]

    def append(self, tokens: np.ndarray, labels: np.ndarray | None = None) -> None:
        """Add samples at the end.

        Args:
            tokens: Codes (n, H, W) of any integer type, in [0, K).
            labels: Class indices (n,) of any integer type; given exactly if the label kind is `class`.

        Raises:
            ValueError: Something is out of range or of the wrong shape or type; nothing of this call was added.
        """
        if not self._open:
            raise ValueError(f"{self.path}: the writer is closed")
        if self.complete:
            raise ValueError(
                f"{self.path}: the store is complete, nothing can be appended; write a new one elsewhere, or "
                "delete it first"
            )
        codes = self._checked_codes(np.asarray(tokens))
        checked_labels = self._checked_labels(labels, len(codes))
        start = 0
        while start < len(codes):
            stop = min(len(codes), start + len(self._rows) - self._fill)
            fill = self._fill + stop - start
            self._rows[self._fill : fill] = self.codec.encode(codes[start:stop])
            if checked_labels is not None:
                self._labels[self._fill : fill] = checked_labels[start:stop]
            self._fill, start = fill, stop
            if self._fill == len(self._rows):
                self._commit()

    def update_source(self, facts: dict[str, Any]) -> None:
        """Add to the header's `source` what is known only at the end; written by `close`."""
        self._updates.update(store_format.json_copy(facts, "source"))

    def close(self) -> None:
        """Commit the open shard and declare the store complete."""
        if self._open and not self.complete:
            if self._fill:
                self._commit()
            self._write_header(complete=True, source={**self._header["source"], **self._updates})
        self._open = False

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        self._open = False  # after an exception the open shard is dropped and the store stays incomplete

    def _checked_codes(self, tokens: np.ndarray) -> np.ndarray:
        """Check tokens (n, H, W) and return them as (n, H * W) in the smallest type."""
        if not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"tokens have type {tokens.dtype}, expected integers")
        if tokens.ndim != 3 or tokens.shape[1:] != self.grid:
            raise ValueError(f"tokens have shape {tokens.shape}, expected (n, {self.grid[0]}, {self.grid[1]})")
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self.codebook_size):
            sample, row, column = np.argwhere((tokens < 0) | (tokens >= self.codebook_size))[0]
            raise ValueError(
                f"sample {self.num_samples + sample}: code {tokens[sample, row, column]} at row {row}, column {column} "
                f"is not in [0, {self.codebook_size})"
            )
        return tokens.reshape(len(tokens), -1).astype(code_dtype(self.codebook_size), copy=False)

    def _checked_labels(self, labels: np.ndarray | None, num_samples: int) -> np.ndarray | None:
        """Check class indices (n,) against the label kind, their type and the classes; None for a store without."""
        kind = self._header["labels"]["kind"]
        if self._label_dtype is None:
            if labels is not None:
                raise ValueError(f"labels were given, but the label kind of the store is {kind!r}")
            return None
        if labels is None:
            raise ValueError("labels are missing: the label kind of the store is 'class'")
        labels = np.asarray(labels)
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (num_samples,):
            raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}, expected integers ({num_samples},)")
        limit = int(np.iinfo(self._label_dtype).max) + 1 if self._num_classes is None else self._num_classes
        if (wrong := np.flatnonzero((labels < 0) | (labels >= limit))).size:
            sample = wrong[0]
            reason = f"{limit} classes" if self._num_classes is not None else f"label_dtype {self._label_dtype}"
            raise ValueError(
                f"sample {self.num_samples + sample}: label {labels[sample]} is not in [0, {limit}) ({reason})"
            )
        return labels

    def _commit(self) -> None:
        """Write the collected samples as one shard, then enter it into the header."""
        rows = self._rows[: self._fill]
        label_bytes = self._labels[: self._fill].view(np.uint8).reshape(self._fill, -1)
        if self._label_dtype is None:
            label_bytes = label_bytes[:, :0]
        layout = ShardLayout(self._fill, self._row_bytes, label_bytes.shape[1])
        checksums = np.fromiter(store_format.sample_checksums(rows, label_bytes), "<u4", count=self._fill)
        content = bytearray(layout.num_bytes)
        for offset, section in (
            (0, layout.pack()),
            (layout.tokens_offset, rows.data.cast("B")),
            (layout.labels_offset, label_bytes.tobytes()),
            (layout.checksums_offset, checksums.tobytes()),
        ):
            content[offset : offset + len(section)] = section
        name = store_format.shard_name(len(self._header["shards"]))
        store_format.atomic_write(self.path / name, [content])
        shard = {
            "file": name,
            "num_samples": self._fill,
            "num_bytes": len(content),
            "sha256": store_format.sha256_hex(content),
        }
        self._write_header(num_samples=self.num_samples, shards=[*self._header["shards"], shard])
        self._fill = 0

    def _write_header(self, **changes: Any) -> None:
        """Replace the header on disk, then the one in memory."""
        header = {**self._header, **changes}
        store_format.write_header(self.path, header)
        self._header = header

    def _resume(self, settings: dict[str, Any], resume: bool) -> bool:
        """Take over a store that was begun before; False if there is none."""
        present = sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []
        if not present:
            return False
        if not resume:
            raise FileExistsError(
                f"{self.path} exists and is not empty; pass resume=True (--resume) to continue an "
                "unfinished store in it, or delete it"
            )
        if store_format.HEADER_FILE not in present:
            # Killed before the first header: nothing was committed, provided that nothing foreign lies there.
            if foreign := [name for name in present if not _OWN_FILES.fullmatch(name)]:
                raise store_format.NotAStoreError(
                    f"{self.path} is not a token store: it has {foreign[0]!r}, no header.json"
                )
            return False
        header = store_format.read_header(self.path)
        for key in settings:
            found, expected = header.get(key), settings[key]
            if key == "source":  # facts added at the end may come on top
                found = {name: found.get(name) for name in expected}
            if found != expected:
                raise ValueError(
                    f"{self.path}: cannot resume, {key} is {expected!r}, but the store was begun with {found!r}"
                )
        if "synonyms" in header and "synonyms" not in settings:
            raise ValueError(f"{self.path}: cannot resume, the store was begun with synonyms, now there are none")
        store_format.check_shards(self.path, header)
        self._header = {key: value for key, value in header.items() if key != "header_sha256"}
        listed = {shard["file"] for shard in header["shards"]}
        for name in present:
            if _OWN_FILES.fullmatch(name) and (
                name.endswith(".tmp") or (name.startswith("shard-") and name not in listed)
            ):
                (self.path / name).unlink()
        return True


def copy_store(
    reader: "StoreReader",
    path: str | Path,
    *,
    codec: str = "bitpacked",
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    resume: bool = False,
    progress: store_format.Progress | None = None,
) -> None:
    """Write the samples of a store into another one, with another codec or other shards.

    The new header's `source` is that of the old one, and `copied_from`, the content hash of the old one.

    Args:
        reader: The store to read.
        path: Folder of the new store.
        codec: Codec of the new store.
        shard_bytes: Size that a new shard should not exceed.
        resume: Continue an interrupted copy of the same store.
        progress: Called with the number of samples done and their total.

    Raises:
        FileExistsError: `path` is not empty, and `resume` is not set.
        ValueError: The store in `path` was begun with other settings or from another store.
    """
    with StoreWriter(
        path,
        codebook_size=reader.codebook_size,
        grid=reader.grid,
        tokenizer=reader.header["tokenizer"],
        codebook=reader.codebook,
        codec=codec,
        label_kind=reader.header["labels"]["kind"],
        classes=reader.classes,
        label_dtype=reader.header["labels"]["dtype"],
        source={**reader.header["source"], "copied_from": reader.content_hash},
        synonyms=reader.synonyms,
        shard_bytes=shard_bytes,
        resume=resume,
    ) as writer:
        labels = reader.labels
        for start in range(writer.num_committed, len(reader), 4096):
            batch = slice(start, start + 4096)
            writer.append(reader.read(batch), None if labels is None else labels[batch])
            if progress is not None:
                progress(writer.num_samples, len(reader))


def _samples_per_shard(shard_bytes: int, row_bytes: int, label_bytes: int) -> int:
    """Samples that a shard holds when it is full: at least one, and not above `shard_bytes` otherwise."""
    if shard_bytes < 1:
        raise ValueError(f"shard_bytes is {shard_bytes}, expected a positive number")
    fixed = store_format.SHARD_HEADER.size + 14  # the header, and at most 7 bytes of padding twice
    return max(1, (shard_bytes - fixed) // (row_bytes + label_bytes + 4))


def _codebook_file(codebook: np.ndarray | None, codebook_size: int) -> tuple[bytes | None, dict[str, Any] | None]:
    """Content of `codebook.npy` and its header entry."""
    if codebook is None:
        return None, None
    codebook = np.asarray(codebook)
    if codebook.ndim != 2 or len(codebook) != codebook_size or not np.issubdtype(codebook.dtype, np.floating):
        raise ValueError(
            f"codebook is {codebook.dtype} of shape {codebook.shape}, expected floats ({codebook_size}, D)"
        )
    stored = np.ascontiguousarray(codebook, dtype="<f4")
    file = io.BytesIO()
    np.save(file, stored, allow_pickle=False)
    return file.getvalue(), {
        "file": store_format.CODEBOOK_FILE,
        "shape": list(stored.shape),
        "dtype": "float32",
        "sha256": store_format.codebook_sha256(stored),
    }


def _synonyms_file(
    synonyms: dict[int, list[int]] | None, codebook_size: int
) -> tuple[bytes | None, dict[str, Any] | None]:
    """Content of `synonyms.json` and its header entry."""
    if synonyms is None:
        return None, None
    for code, similar in synonyms.items():
        if not all(0 <= int(value) < codebook_size for value in (code, *similar)):
            raise ValueError(f"synonyms of code {code} are {list(similar)!r}, expected codes in [0, {codebook_size})")
    content = dump_synonyms(synonyms)
    return content, {"file": store_format.SYNONYMS_FILE, "sha256": store_format.sha256_hex(content)}
