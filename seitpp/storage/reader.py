"""Random access to the samples of a token store, whatever the number of its shards, and its verification."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.stable_file import read_pieces
from seitpp.storage import header as store_header
from seitpp.storage.codecs import ZstdCodec, code_dtype, samples_at_a_time
from seitpp.storage.label_files import label_file_problems, read_label_file
from seitpp.storage.settings import StoreSettings
from seitpp.storage.shard import open_shards
from seitpp.storage.side_files import load_array, load_code_table, load_codebook, load_store_synonyms
from seitpp.storage.source import TokenSource
from seitpp.storage.tokenizer_entry import tokenizer_options
from seitpp.storage.zstd_rows import read_frames


def check_indices(indices: Any, num_samples: int) -> np.ndarray:
    """Return sample indices as int64 (n,); raises `IndexError` for one outside [0, num_samples)."""
    if isinstance(indices, slice):
        return np.arange(*indices.indices(num_samples))
    array = np.asarray(indices)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"indices are {array.dtype} of shape {array.shape}, expected a list of integers or a slice")
    if array.min() < 0 or array.max() >= num_samples:
        wrong = array[(array < 0) | (array >= num_samples)][0]
        raise IndexError(f"index {wrong} is out of range for {num_samples} samples")
    return array.astype(np.int64)


class StoreReader(TokenSource):
    """Reads a token store; indices run over all shards in order.

    Opening reads the header, the codebook and the first bytes of each shard; labels and tokens stay on disk until asked
    for. A reader can be pickled, forked and used by several threads; shards are opened when needed, as many at a time
    as the process may have open (`seitpp.io.stable_file`).

    Args:
        allow_incomplete: Accept a store whose writer has not finished, and see its committed samples.

    Attributes:
        header: The parsed `header.json`.
        grid: Rows and columns of a token map (H, W).
        codebook_size: Number of codes K.
        channels: Values per position C; None for plain codes.
        minimum: Smallest value m: values are in [m, m + K).
        sample_shape: Shape of a sample: (H, W), or (H, W, C) with channels.
        dtype: Type of the values that are read: the smallest that holds them, signed if the minimum is negative.
        codebook: Code vectors (K, D), float32, or None.
        codebook_sha256: Checksum that identifies the codebook, or None.
        synonyms: Similar codes of each code, best first, or None.
        code_table: Which codes of a larger codebook the codes stand for, or None.
        classes: Class names, or None.
        label_map_checksums: CRC-32 (N,), uint32, of the files of label maps, or None.

    Raises:
        NotAStoreError: There is no store at this path.
        ValueError: The store is damaged, incomplete or empty.
    """

    def __init__(self, path: str | Path, *, allow_incomplete: bool = False) -> None:
        self.path = Path(path)
        self.header = header = store_header.read_header(self.path)
        if not header["complete"] and not allow_incomplete:
            raise ValueError(
                f"{self.path} is incomplete: {len(self)} samples are committed. Run its writer again with resume=True "
                "to finish it, or open it with allow_incomplete=True"
            )
        if not len(self):
            raise ValueError(f"{self.path} holds no samples")
        self.grid: tuple[int, int] = tuple(header["grid"])
        self.codebook_size: int = header["codebook_size"]
        self.channels: int | None = header.get("channels")
        self.minimum: int = header.get("minimum", 0)
        self.sample_shape = self.grid if self.channels is None else (*self.grid, self.channels)
        self.dtype = code_dtype(self.codebook_size, self.minimum)
        self.classes: list[str] | None = header["classes"]
        self._num_codes = math.prod(self.sample_shape)
        self._shards = open_shards(self.path, header)
        self._starts = np.cumsum([0, *map(len, self._shards)])  # int64 (S + 1,)
        self.codebook = load_codebook(self.path, header)
        self.codebook_sha256: str | None = header["codebook"] and header["codebook"]["sha256"]
        self.synonyms = load_store_synonyms(self.path, header)
        self.code_table = load_code_table(self.path, header)
        self.label_map_checksums = load_array(self.path, header, "label_maps", "<u4", (len(self),))
        self._labels: np.ndarray | None = None  # as they are stored, a quarter of the memory

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_labels": None}

    def close(self) -> None:
        """Close the files; they are opened again when needed."""
        for shard in self._shards:
            shard.close()

    @property
    def settings(self) -> StoreSettings:
        """What the store is, to write another one like it; with the default size of shards."""
        same = ("codebook_size", "grid", "codebook", "classes", "synonyms", "channels", "minimum", "code_table")
        return StoreSettings(
            tokenizer=self.header["tokenizer"],
            codec=self.header["codec"]["name"],
            label_kind=self.header["labels"]["kind"],
            label_dtype=self.header["labels"]["dtype"],
            source=self.header["source"],
            **{name: getattr(self, name) for name in same},
        )

    @property
    def labels(self) -> np.ndarray | None:
        """Class indices (N,), int64, a new array each time; read when first asked for, None for other label kinds.

        One beyond the classes that the header names is a `ValueError`, as is a shard that has changed.
        """
        if self._labels is None:
            self._labels = self._load_labels()
        return None if self._labels is None else self._labels.astype(np.int64)

    @property
    def content_hash(self) -> str:
        return store_header.content_hash(self.header)

    @property
    def section_bytes(self) -> dict[str, int]:
        """Bytes on disk by purpose.

        `tables` (dictionaries) and `index` (where each row starts) are those of `zstd`; `other` is the header, shard
        headers with padding, codebook, synonyms, code table and checksums of label maps.
        """
        layouts = [shard.layout for shard in self._shards]
        variable = [layout for layout in layouts if not layout.row_bytes]
        beside = [store_header.HEADER_FILE]
        beside += [entry["file"] for key in store_header.SIDE_ENTRIES if (entry := self.header.get(key))]
        found = {
            "tokens": sum(layout.token_bytes for layout in layouts),
            "tables": sum(8 + layout.dictionary_bytes for layout in variable),
            "index": sum(8 * (layout.num_samples + 1) for layout in variable),
            "labels": sum(layout.num_samples * layout.label_bytes for layout in layouts),
            "checksums": 4 * len(self),
        }
        padding = sum(layout.num_bytes for layout in layouts) - sum(found.values())
        return {**found, "other": padding + sum((self.path / name).stat().st_size for name in beside)}

    def __len__(self) -> int:
        return self.header["num_samples"]

    def read(self, indices: Any) -> np.ndarray:
        """Read samples (n, H, W) or (n, H, W, C), of type `dtype`, by integers in [0, N) in any order, or by a slice.

        An index out of range is an `IndexError`, a stored code that does not exist a `ValueError`.
        """
        checked = check_indices(indices, len(self))
        step = samples_at_a_time(self._num_codes)
        if len(checked) <= step:
            return self._decode(checked)
        tokens = np.empty((len(checked), *self.sample_shape), self.dtype)
        for start in range(0, len(checked), step):
            tokens[start : start + step] = self._decode(checked[start : start + step])
        return tokens

    def read_rows(self, indices: Any) -> np.ndarray:
        """Read rows (n, row_bytes), uint8, of some samples as stored, not checked; frames are a `ValueError`."""
        if not (row_bytes := self._shards[0].layout.row_bytes):
            raise ValueError(
                f"{self.path}: rows of {self.header['codec']['name']} have no common size; read its tokens"
            )
        return self._gather(check_indices(indices, len(self)), row_bytes)

    def iter_batches(self, indices: Sequence[int] | None = None, *, sound: bool = False) -> Iterator[np.ndarray]:
        """Yield the tokens of samples (ascending `indices`, by default all), up to some thousand at a time.

        With `sound` each shard is compared with its hash first: for whatever is written anew from these tokens.
        """
        indices = range(len(self)) if indices is None else indices
        step, checked = samples_at_a_time(self._num_codes), 0
        for start in range(0, len(indices), step):
            batch = np.asarray(indices[start : start + step])
            while sound and (unchecked := batch[batch >= checked]).size:
                checked = self.require_sound_shard(int(unchecked[0]))
            yield self.read(batch)

    def verify(self, progress: store_header.Progress | None = None) -> list[str]:
        """Compare every stored byte with its checksum, every code with the codebook size, and label maps with theirs.

        Returns one line per problem, naming shard and sample. `progress` is called with bytes of shards done and total.
        """
        self.close()  # what has its name now, not what had it when it was opened
        problems = []
        try:
            if "type" in self.header["tokenizer"]:
                tokenizer_options(self.header["tokenizer"])
        except ValueError as error:
            problems.append(f"{self.path / store_header.HEADER_FILE}: {error}")
        done, total = 0, sum(shard.layout.num_bytes for shard in self._shards)
        for number, shard in enumerate(self._shards):
            digest = hashlib.sha256()
            try:
                for block in shard.blocks():
                    digest.update(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
                damage = shard.damage(self._starts[number]) if digest.hexdigest() != shard.sha256 else []
                named = {line.partition(",")[0] for line in damage}  # not twice for the same sample
                problems += damage
                problems += [line for line in self._undecodable(number) if line.partition(",")[0] not in named]
            except (ValueError, OSError) as error:  # it changed after it was opened, or makes no sense
                problems.append(str(error))
        try:
            self._load_labels()
        except (ValueError, OSError) as error:
            problems += [str(error)] if str(error) not in problems else []
        if self.header["labels"]["kind"] == "segmentation":
            problems += label_file_problems(self.path, len(self), self.label_map_checksums)
        return problems

    def require_sound_shard(self, sample: int) -> int:
        """Compare the shard of a sample with its hash; return the number of the first sample of the next shard."""
        number = int(np.searchsorted(self._starts, sample, side="right")) - 1
        shard = self._shards[number]
        if shard.found_sha256() != shard.sha256:
            damage = "; ".join(shard.damage(self._starts[number]))
            raise ValueError(f"{damage}; a copy would hide it: restore or make the store again")
        return int(self._starts[number + 1])

    def _decode(self, indices: np.ndarray) -> np.ndarray:
        """Read checked samples (n, *sample_shape)."""
        codes, sound = self._codes(indices)
        if problems := self._decoding_problems(indices, codes, sound):
            raise ValueError(f"{problems[0]}; restore the shard, or make the store again")
        if self.minimum:
            values = np.empty(codes.shape, self.dtype)
            codes = np.add(codes, self.minimum, out=values, dtype=np.int64, casting="unsafe")
        return codes.reshape(-1, *self.sample_shape)

    def _codes(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Decode samples of all shards into codes (n, T), not checked against the codebook size.

        The second result tells whether each row could be decoded (n,); None if any bytes are codes.
        """
        codec = self._shards[0].codec
        if isinstance(codec, ZstdCodec):
            numbers = np.searchsorted(self._starts, indices, side="right") - 1
            return read_frames(self._shards, numbers, indices - self._starts[numbers])
        return codec.decode(self._gather(indices, codec.row_bytes(self._num_codes)), self._num_codes), None

    def _gather(self, indices: np.ndarray, row_bytes: int) -> np.ndarray:
        """Read encoded rows (n, row_bytes), uint8; those that follow one another in a shard are read as one piece."""
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        begins = np.ones(len(indices), bool)
        begins[1:] = (indices[1:] != indices[:-1] + 1) | (shards[1:] != shards[:-1])
        first = np.flatnonzero(begins)
        lengths = (np.append(first[1:], len(indices)) - first) * row_bytes
        shards = shards[first]
        offsets = (indices[first] - self._starts[shards]) * row_bytes + self._shards[0].layout.tokens_offset
        content = read_pieces(self._shards, shards.tolist(), offsets.tolist(), lengths.tolist())
        return np.frombuffer(content, np.uint8).reshape(-1, row_bytes)

    def _decoding_problems(self, indices: np.ndarray, codes: np.ndarray, sound: np.ndarray | None) -> list[str]:
        """Return a line for each decoded sample that is no row of the codec, or holds a code that does not exist."""
        codes = codes.view(f"u{codes.itemsize}")  # damaged 32-bit codes may be negative
        if (sound is None or sound.all()) and not (codes.size and codes.max() >= self.codebook_size):
            return []
        lines = []
        for row, number in enumerate(indices.tolist()):
            path = self._shards[np.searchsorted(self._starts, number, side="right") - 1].path
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
        """Return the lines of `_decoding_problems` for a whole shard."""
        problems, step = [], samples_at_a_time(self._num_codes)
        stop = int(self._starts[shard + 1])
        for start in range(int(self._starts[shard]), stop, step):
            indices = np.arange(start, min(start + step, stop))
            problems += self._decoding_problems(indices, *self._codes(indices))
        return problems

    def _load_labels(self) -> np.ndarray | None:
        dtype, num_bytes = store_header.label_layout(self.header["labels"])
        if dtype is None:
            return None
        content = read_pieces(
            self._shards,
            range(len(self._shards)),
            [shard.layout.labels_offset for shard in self._shards],
            [len(shard) * num_bytes for shard in self._shards],
        )
        stored = np.frombuffer(content, dtype)
        if self.classes is not None and (wrong := np.flatnonzero(stored >= len(self.classes))).size:
            raise ValueError(
                f"{self.path}: sample {wrong[0]} has the label {stored[wrong[0]]}, expected one of the "
                f"{len(self.classes)} classes that header.json names: damaged"
            )
        return stored

    def read_label_map(self, sample: int, *, sound: bool = False) -> bytes:
        """Read the PNG of a sample's label map, and compare it with the checksum that the store records, if it does.

        With `sound` also with the checksums within the PNG: for whatever is written anew from it. A missing file is a
        `FileNotFoundError`, another one than the store was made with a `ValueError`.
        """
        return read_label_file(self.path, sample, self.label_map_checksums, sound=sound)
