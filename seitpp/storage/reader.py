"""Random access to the samples of a token store through memory-mapped shards, and its verification."""

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.storage import format as store_format
from seitpp.storage.codecs import samples_at_a_time, value_dtype
from seitpp.storage.indices import check_indices
from seitpp.storage.label_files import checked_label_file, label_file_problems, load_checksums, sound_label_file
from seitpp.storage.numbering import CodeTable, load_code_table
from seitpp.storage.shard_file import open_shards
from seitpp.storage.side_files import load_store_codebook, load_store_synonyms
from seitpp.storage.synonyms import SynonymTable
from seitpp.tokenizer_facts import tokenizer_options


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
        self._shards = open_shards(self.path, self._header)
        self._starts = np.cumsum([0, *map(len, self._shards)])
        self._codebook = load_store_codebook(self.path, self._header)
        self._synonyms = load_store_synonyms(self.path, self._header)
        self._code_table = self._load_code_table()
        self._labels = self._load_labels()
        self._label_map_checksums = load_checksums(self.path, self._header)

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
    def channels(self) -> int | None:
        """Values of a cell C; None for plain codes."""
        return self._header.get("channels")

    @property
    def minimum(self) -> int:
        """Smallest value m: values are in [m, m + K)."""
        return self._header.get("minimum", 0)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a sample: (H, W), or (H, W, C) with channels."""
        return store_format.sample_shape(self._header)

    @property
    def dtype(self) -> np.dtype:
        """Type of the values that are read: the smallest that holds them, signed if the minimum is negative."""
        return value_dtype(self.codebook_size, self.minimum)

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
    def code_table(self) -> CodeTable | None:
        """Which codes of a larger codebook the codes stand for."""
        return self._code_table

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
        """Bytes on disk by purpose.

        `tables` and `index` (where each row starts) are those of codecs with rows of variable length; `other` is the
        header, shard headers with padding, codebook, synonyms, code table and checksums of label maps.
        """
        layouts = [shard.layout for shard in self._shards]
        tokens = sum(layout.token_bytes for layout in layouts)
        variable = [layout for layout in layouts if not layout.row_bytes]
        tables = sum(8 + layout.table_bytes for layout in variable)
        index = sum(8 * (layout.num_samples + 1) for layout in variable)
        labels = sum(layout.num_samples * layout.label_bytes for layout in layouts)
        checksums = 4 * len(self)
        shards = sum(layout.num_bytes for layout in layouts)
        beside = [store_format.HEADER_FILE]
        beside += [entry["file"] for key in store_format.SIDE_ENTRIES if (entry := self._header.get(key))]
        other = shards - tokens - tables - index - labels - checksums
        other += sum((self.path / name).stat().st_size for name in beside)
        return {
            "tokens": tokens,
            "tables": tables,
            "index": index,
            "labels": labels,
            "checksums": checksums,
            "other": other,
        }

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
            Samples (n, H, W) or (n, H, W, C) in the order of `indices`, of type `dtype`: for plain codes the smallest
            of uint8, uint16 and int32 that holds K - 1.

        Raises:
            IndexError: An index is out of range.
            ValueError: The indices are not integers, or the stored bytes hold a code that does not exist.
        """
        if isinstance(indices, slice):
            start, stop, step = indices.indices(len(self))
            if step == 1:
                return self._read_range(start, max(start, stop))
        checked = check_indices(indices, len(self))
        tokens = np.empty((len(checked), *self.sample_shape), self.dtype)
        shards = np.searchsorted(self._starts, checked, side="right") - 1
        for shard in np.unique(shards):
            positions = np.flatnonzero(shards == shard)
            samples = checked[positions]
            tokens[positions] = self._decode(int(shard), samples - self._starts[shard])
        return tokens

    def read_all(self, progress: store_format.Progress | None = None) -> np.ndarray:
        """Tokens of all samples (N, *sample_shape); `progress` is called with samples done and their total."""
        tokens = np.empty((len(self), *self.sample_shape), self.dtype)
        done = 0
        for batch in self.iter_batches():
            tokens[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, len(self))
        return tokens

    def iter_batches(self, *, sound: bool = False) -> Iterator[np.ndarray]:
        """Tokens of all samples in order, up to some thousand at a time.

        Args:
            sound: Compare each shard with its hash first: for whatever is written anew from these tokens.
        """
        step, checked = samples_at_a_time(math.prod(self.sample_shape)), 0
        for start in range(0, len(self), step):
            while sound and checked < min(start + step, len(self)):
                checked = self.require_sound_shard(checked)
            yield self._read_range(start, min(start + step, len(self)))

    def verify(self, progress: store_format.Progress | None = None) -> list[str]:
        """Compare every stored byte with its checksum, every code with the codebook size, and label maps with theirs.

        Args:
            progress: Called with the bytes of shards done and their total.

        Returns:
            One line per problem, naming shard and sample; empty for a sound store.
        """
        problems = self._tokenizer_problems()
        done, total = 0, sum(shard.layout.num_bytes for shard in self._shards)
        for shard, entry in enumerate(self._header["shards"]):
            try:
                content, digest = self._shards[shard].content, hashlib.sha256()
            except (ValueError, OSError) as error:  # it changed after it was opened
                problems.append(str(error))
                continue
            for start in range(0, len(content), 2**23):
                digest.update(content[start : start + 2**23])
                if progress is not None:
                    progress(done + min(start + 2**23, len(content)), total)
            done += len(content)
            try:
                damage = self._damage(shard) if digest.hexdigest() != entry["sha256"] else []
                named = {line.partition(",")[0] for line in damage}  # not twice for the same sample
                problems += damage
                problems += [line for line in self._undecodable(shard) if line.partition(",")[0] not in named]
            except ValueError as error:  # a row index or tables that make no sense
                problems.append(str(error))
        if self._header["labels"]["kind"] == "segmentation":
            problems += filter(None, label_file_problems(self.path, len(self), self._label_map_checksums))
        return problems

    def _tokenizer_problems(self) -> list[str]:
        """A line if the header's tokenizer could not be built again, whatever the weights."""
        tokenizer = self._header["tokenizer"]
        try:
            if "type" in tokenizer:
                tokenizer_options(tokenizer)
        except ValueError as error:
            return [f"{self.path / store_format.HEADER_FILE}: {error}"]
        return []

    def require_sound_shard(self, sample: int) -> int:
        """Compare the shard that holds a sample with its hash.

        Returns:
            Number of the first sample of the next shard.

        Raises:
            ValueError: The shard is damaged; names it and its samples.
        """
        shard = int(np.searchsorted(self._starts, sample, side="right")) - 1
        if store_format.sha256_hex(self._shards[shard].content) != self._header["shards"][shard]["sha256"]:
            raise ValueError("; ".join(self._damage(shard)) + "; a copy would hide it: restore or make the store again")
        return int(self._starts[shard + 1])

    def _read_range(self, start: int, stop: int) -> np.ndarray:
        """Tokens of samples start..stop-1, read straight from the shards."""
        tokens = np.empty((stop - start, *self.sample_shape), self.dtype)
        first = int(np.searchsorted(self._starts, start, side="right")) - 1
        for shard in range(first, len(self._shards)):
            low, high = max(start, self._starts[shard]), min(stop, self._starts[shard + 1])
            if low >= high:
                break
            tokens[low - start : high - start] = self._decode(
                shard, slice(low - self._starts[shard], high - self._starts[shard])
            )
        return tokens

    def _decode(self, shard: int, places: np.ndarray | slice) -> np.ndarray:
        """Checked samples (n, *sample_shape) at some places of one shard."""
        codes, sound = self._shards[shard].decode(places)
        if problems := self._decoding_problems(shard, places, codes, sound):
            raise ValueError(problems[0])
        if self.minimum:
            codes = (codes.astype(np.int64) + self.minimum).astype(self.dtype)
        return codes.reshape(-1, *self.sample_shape)

    def _decoding_problems(
        self, shard: int, places: np.ndarray | slice, codes: np.ndarray, sound: np.ndarray | None
    ) -> list[str]:
        """A line for each of some decoded samples that is no row of the codec, or holds a code that does not exist."""
        codes = codes.view(f"u{codes.itemsize}")  # damaged 32-bit codes may be negative
        if (sound is None or sound.all()) and not (codes.size and codes.max() >= self.codebook_size):
            return []
        numbers = np.arange(self._starts[shard], self._starts[shard + 1])[places]
        path, lines = self._shards[shard].path, []
        for row, number in enumerate(numbers):
            if sound is not None and not sound[row]:
                lines.append(
                    f"{path}: sample {number} is damaged, its row does not decode to {codes.shape[1]} codes with the "
                    "right CRC-32"
                )
            elif (wrong := codes[row][codes[row] >= self.codebook_size]).size:
                lines.append(
                    f"{path}: sample {number} holds code {wrong[0]}, expected codes below {self.codebook_size}"
                )
        return lines

    def _undecodable(self, shard: int) -> list[str]:
        """The lines of `_decoding_problems` for a whole shard."""
        problems, step = [], samples_at_a_time(math.prod(self.sample_shape))
        for start in range(0, len(self._shards[shard]), step):
            places = slice(start, start + step)
            problems += self._decoding_problems(shard, places, *self._shards[shard].decode(places))
        return problems

    def _damage(self, shard: int) -> list[str]:
        """Lines for a shard whose SHA-256 is wrong: the samples whose own checksum is wrong, if any."""
        path, stored = self._shards[shard].path, self._shards[shard].stored_checksums()
        lines = [
            f"{path}: sample {self._starts[shard] + row} is damaged, CRC-32 is {crc:08x}, expected {stored[row]:08x}"
            for row, crc in enumerate(self._shards[shard].found_checksums())
            if crc != stored[row]
        ]
        return lines or [f"{path}: SHA-256 differs from header.json, though every sample matches its own CRC-32"]

    def _load_labels(self) -> np.ndarray | None:
        dtype, _ = store_format.label_layout(self._header["labels"])
        if dtype is None:
            return None
        labels = np.concatenate([shard.labels(dtype) for shard in self._shards]).astype(np.int64)
        if self.classes is not None and (wrong := np.flatnonzero(labels >= len(self.classes))).size:
            raise ValueError(
                f"{self.path}: sample {wrong[0]} has the label {labels[wrong[0]]}, expected one of the "
                f"{len(self.classes)} classes that header.json names: damaged"
            )
        return labels

    @property
    def label_map_checksums(self) -> np.ndarray | None:
        """CRC-32 (N,), uint32, of the files of label maps; None for other stores and those that record none."""
        return self._label_map_checksums

    def read_label_map(self, sample: int, *, sound: bool = False) -> bytes:
        """The PNG of a sample's label map, compared with the checksum that the store records, if it does.

        Args:
            sample: Number of the sample.
            sound: Compare it with the checksums within the PNG, too: for whatever is written anew from it.

        Raises:
            FileNotFoundError: It does not exist.
            ValueError: It is another one than the store was made with.
        """
        read, checksums = sound_label_file if sound else checked_label_file, self._label_map_checksums
        return read(self.path, sample, None if checksums is None else int(checksums[sample]))

    def _load_code_table(self) -> CodeTable | None:
        entry = self._header.get("code_table")
        return entry and load_code_table(self.path / entry["file"], entry, self.codebook_size)
