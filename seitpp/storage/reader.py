"""Random access to the samples of a token store through memory-mapped shards, and its verification."""

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.storage import format as store_format
from seitpp.storage.codecs import code_dtype, codec_from_header
from seitpp.storage.synonyms import SynonymTable, parse_synonyms

_BATCH_SAMPLES = 4096


class StoreReader:
    """Reads a token store; indices run over all shards in order.

    Opening reads the header, labels and codebook; tokens stay on disk until asked for. A reader can be pickled and
    forked: memory maps are opened when first needed.

    Args:
        path: Folder of the store.
        allow_incomplete: Accept a store whose writer has not finished, and see its committed samples.

    Raises:
        NotAStoreError: There is no store at this path.
        ValueError: The store is damaged, incomplete or empty.
    """

    def __init__(self, path: str | Path, *, allow_incomplete: bool = False) -> None:
        self.path = Path(path)
        self._header = store_format.read_header(self.path)
        if not self._header["complete"] and not allow_incomplete:
            raise ValueError(
                f"{self.path} is incomplete: {len(self)} samples are committed. Run its writer again with resume=True "
                "to finish it, or open it with allow_incomplete=True"
            )
        if not len(self):
            raise ValueError(f"{self.path} holds no samples")
        store_format.check_shards(self.path, self._header)
        self._codec = codec_from_header(self._header["codec"], self.codebook_size)
        self._layouts = store_format.shard_layouts(self._header)
        self._starts = np.cumsum([0, *(layout.num_samples for layout in self._layouts)])
        self._maps: dict[int, np.ndarray] = {}
        self._codebook = self._load_codebook()
        self._synonyms = self._load_synonyms()
        self._labels = self._load_labels()

    @property
    def header(self) -> dict[str, Any]:
        """The parsed `header.json`."""
        return self._header

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a token map."""
        height, width = self._header["grid"]
        return height, width

    @property
    def codebook_size(self) -> int:
        """Number of codes K."""
        return self._header["codebook_size"]

    @property
    def codebook(self) -> np.ndarray | None:
        """Code vectors (K, D), float32."""
        return self._codebook

    @property
    def codebook_sha256(self) -> str | None:
        """Checksum that identifies the codebook."""
        return self._header["codebook"] and self._header["codebook"]["sha256"]

    @property
    def synonyms(self) -> SynonymTable | None:
        """Similar codes of each code, best first."""
        return self._synonyms

    @property
    def classes(self) -> list[str] | None:
        """Class names."""
        return self._header["classes"]

    @property
    def labels(self) -> np.ndarray | None:
        """Class indices (N,), int64; None unless the label kind is `class`."""
        return self._labels

    @property
    def content_hash(self) -> str:
        """SHA-256 that is equal for stores with equal contents."""
        return store_format.content_hash(self._header)

    @property
    def section_bytes(self) -> dict[str, int]:
        """Bytes on disk by purpose; `other` is the header, shard headers with padding, codebook and synonyms."""
        tokens = sum(layout.num_samples * layout.row_bytes for layout in self._layouts)
        labels = sum(layout.num_samples * layout.label_bytes for layout in self._layouts)
        checksums = 4 * len(self)
        shards = sum(layout.num_bytes for layout in self._layouts)
        beside = [store_format.HEADER_FILE]
        beside += [entry["file"] for key in ("codebook", "synonyms") if (entry := self._header.get(key))]
        other = shards - tokens - labels - checksums + sum((self.path / name).stat().st_size for name in beside)
        return {"tokens": tokens, "labels": labels, "checksums": checksums, "other": other}

    @property
    def num_bytes(self) -> int:
        """Bytes of all files of the store."""
        return sum(self.section_bytes.values())

    def __len__(self) -> int:
        return self._header["num_samples"]

    def read(self, indices: Any) -> np.ndarray:
        """Tokens of the given samples.

        Args:
            indices: Integers in [0, N) in any order, with or without repetition, or a slice.

        Returns:
            Codes (n, H, W) in the order of `indices`, in the smallest of uint8, uint16 and int32 for K.

        Raises:
            IndexError: An index is out of range.
            ValueError: The indices are not integers, or the stored bytes hold a code that does not exist.
        """
        if isinstance(indices, slice):
            start, stop, step = indices.indices(len(self))
            if step == 1:
                return self._read_range(start, max(start, stop))
        checked = check_indices(indices, len(self))
        codes = np.empty((len(checked), self.grid[0] * self.grid[1]), code_dtype(self.codebook_size))
        shards = np.searchsorted(self._starts, checked, side="right") - 1
        for shard in np.unique(shards):
            positions = np.flatnonzero(shards == shard)
            samples = checked[positions]
            codes[positions] = self._decode(int(shard), self._rows(int(shard))[samples - self._starts[shard]], samples)
        return codes.reshape(-1, *self.grid)

    def read_all(self, progress: store_format.Progress | None = None) -> np.ndarray:
        """Tokens of all samples (N, H, W); `progress` is called with samples done and their total."""
        tokens = np.empty((len(self), *self.grid), code_dtype(self.codebook_size))
        done = 0
        for batch in self.iter_batches():
            tokens[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, len(self))
        return tokens

    def iter_batches(self) -> Iterator[np.ndarray]:
        """Tokens of all samples in order, some thousand at a time."""
        for start in range(0, len(self), _BATCH_SAMPLES):
            yield self._read_range(start, min(start + _BATCH_SAMPLES, len(self)))

    def verify(self, progress: store_format.Progress | None = None) -> list[str]:
        """Compare every stored byte with its checksum, and every code with the codebook size.

        Args:
            progress: Called with the bytes of shards done and their total.

        Returns:
            One line per problem, naming shard and sample; empty for a sound store.
        """
        problems = []
        done, total = 0, sum(layout.num_bytes for layout in self._layouts)
        for shard, entry in enumerate(self._header["shards"]):
            content, digest = self._map(shard), hashlib.sha256()
            for start in range(0, len(content), 2**23):
                digest.update(content[start : start + 2**23])
                if progress is not None:
                    progress(done + min(start + 2**23, len(content)), total)
            done += len(content)
            if digest.hexdigest() != entry["sha256"]:
                problems += self._damage(shard)
            problems += self._codes_out_of_range(shard)
        return problems

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def _read_range(self, start: int, stop: int) -> np.ndarray:
        """Tokens of samples start..stop-1, read straight from the shards."""
        codes = np.empty((stop - start, self.grid[0] * self.grid[1]), code_dtype(self.codebook_size))
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        for shard in range(first, len(self._layouts)):
            low, high = max(start, self._starts[shard]), min(stop, self._starts[shard + 1])
            if low >= high:
                break
            rows = self._rows(shard)[low - self._starts[shard] : high - self._starts[shard]]
            codes[low - start : high - start] = self._decode(shard, rows, np.arange(low, high))
        return codes.reshape(-1, *self.grid)

    def _decode(self, shard: int, rows: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Decode rows (n, row_bytes) of one shard and check the codes; `samples` (n,) are their numbers."""
        codes = self._codec.decode(rows, self.grid[0] * self.grid[1])
        if codes.size and codes.max() >= self.codebook_size:
            row, position = np.argwhere(codes >= self.codebook_size)[0]
            raise ValueError(self._code_problem(shard, int(samples[row]), int(codes[row, position])))
        return codes

    def _code_problem(self, shard: int, sample: int, code: int) -> str:
        name = self._header["shards"][shard]["file"]
        return f"{self.path / name}: sample {sample} holds code {code}, expected codes below {self.codebook_size}"

    def _codes_out_of_range(self, shard: int) -> list[str]:
        problems, rows = [], self._rows(shard)
        for start in range(0, len(rows), _BATCH_SAMPLES):
            codes = self._codec.decode(rows[start : start + _BATCH_SAMPLES], self.grid[0] * self.grid[1])
            highest = codes.max(axis=1)
            for row in np.flatnonzero(highest >= self.codebook_size):
                sample = int(self._starts[shard]) + start + int(row)
                problems.append(self._code_problem(shard, sample, int(highest[row])))
        return problems

    def _damage(self, shard: int) -> list[str]:
        """Lines for a shard whose SHA-256 is wrong: the samples whose own checksum is wrong, if any."""
        layout, path = self._layouts[shard], self.path / self._header["shards"][shard]["file"]
        labels = self._section(shard, layout.labels_offset, layout.num_samples * layout.label_bytes)
        stored = self._section(shard, layout.checksums_offset, 4 * layout.num_samples).view("<u4")
        found = store_format.sample_checksums(self._rows(shard), labels.reshape(layout.num_samples, layout.label_bytes))
        lines = [
            f"{path}: sample {self._starts[shard] + row} is damaged, CRC-32 is {crc:08x}, expected {stored[row]:08x}"
            for row, crc in enumerate(found)
            if crc != stored[row]
        ]
        return lines or [f"{path}: SHA-256 differs from header.json, though every sample matches its own CRC-32"]

    def _map(self, shard: int) -> np.ndarray:
        """All bytes of a shard, memory-mapped."""
        if shard not in self._maps:
            with open(self.path / self._header["shards"][shard]["file"], "rb") as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[shard] = np.frombuffer(mapped, np.uint8)
        return self._maps[shard]

    def _section(self, shard: int, offset: int, num_bytes: int) -> np.ndarray:
        return self._map(shard)[offset : offset + num_bytes]

    def _rows(self, shard: int) -> np.ndarray:
        """Encoded token rows of a shard (n, row_bytes), uint8."""
        layout = self._layouts[shard]
        section = self._section(shard, layout.tokens_offset, layout.num_samples * layout.row_bytes)
        return section.reshape(layout.num_samples, layout.row_bytes)

    def _load_labels(self) -> np.ndarray | None:
        dtype, label_bytes = store_format.label_layout(self._header["labels"])
        if dtype is None:
            return None
        sections = [
            self._section(shard, layout.labels_offset, layout.num_samples * label_bytes).view(dtype)
            for shard, layout in enumerate(self._layouts)
        ]
        return np.concatenate(sections).astype(np.int64)

    def _load_codebook(self) -> np.ndarray | None:
        entry = self._header["codebook"]
        if entry is None:
            return None
        path = self.path / entry["file"]
        if not path.is_file():
            raise ValueError(f"{path} is missing, the header names it as codebook")
        try:
            codebook = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        shape = tuple(entry["shape"])
        if codebook.dtype != np.float32 or codebook.shape != shape or len(codebook) != self.codebook_size:
            raise ValueError(f"{path} holds {codebook.dtype} of shape {codebook.shape}, expected float32 {shape}")
        if (found := store_format.codebook_sha256(codebook)) != entry["sha256"]:
            raise ValueError(f"{path}: SHA-256 of the codebook is {found}, expected {entry['sha256']}")
        return codebook.astype(np.float32, copy=False)

    def _load_synonyms(self) -> SynonymTable | None:
        entry = self._header.get("synonyms")
        if entry is None:
            return None
        path = self.path / entry["file"]
        if not path.is_file():
            raise ValueError(f"{path} is missing, the header names it as synonyms")
        content = path.read_bytes()
        if store_format.sha256_hex(content) != entry["sha256"]:
            raise ValueError(f"{path}: SHA-256 differs from the one in header.json")
        return parse_synonyms(content, path)


def check_indices(indices: Any, num_samples: int) -> np.ndarray:
    """Sample indices as int64 (n,); raises `IndexError` for one outside [0, num_samples)."""
    if isinstance(indices, slice):
        return np.arange(num_samples)[indices]
    array = np.asarray(indices)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"indices are {array.dtype} of shape {array.shape}, expected a list of integers or a slice")
    if (wrong := np.flatnonzero((array < 0) | (array >= num_samples))).size:
        raise IndexError(f"index {array[wrong[0]]} is out of range for {num_samples} samples")
    return array.astype(np.int64)
