"""The token files that the SeiT authors publish, read as they are.

Byte layout (also in `docs/storage_format.md`): a gzip stream of all images; a byte below 255 is a code, 255 adds 255 to
the byte that follows. A gzipped `.npy` file holds the byte offsets of the images, a text file their class indices.
"""

import gzip
import hashlib
import io
import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seitpp.io.stable_file import file_identity
from seitpp.io.text import shown
from seitpp.io.untrusted import check_regular_file, gunzip, parse_npy, parsing, read_file
from seitpp.storage.header import Progress, check_grid, sha256_hex
from seitpp.storage.reader import StoreReader, check_indices
from seitpp.storage.release.escapes import MAX_RELEASE_CODES, decode_release_bytes
from seitpp.storage.source import TokenSource

DATA_ENDING = ".data.bin.gz"
BATCH_IMAGES = 4096
_MAX_DEFLATE_RATIO = 1032
_MOST_INDEX_BYTES = 2**31
_MOST_LABEL_BYTES = 64  # per line
_MOST_SURPLUS = 2**26  # bytes beyond what is expected that are looked at
_LABEL = re.compile("[0-9]{1,10}", re.ASCII)
RELEASE_FORMAT = "seit-release"
SUFFIXES = {
    "data": f"-token{DATA_ENDING}",
    "index": "-token.index.npy.gz",
    "labels": "-label.txt",
    "synonyms": "-synonyms.json",
}


class SeitRelease(TokenSource):
    """A published data set of tokens, with the reading interface of `StoreReader`.

    Nothing is decoded before tokens are asked for; the first `read` then decodes the whole file once and keeps it as
    uint16 (2.6 GB for ImageNet-1k). `iter_batches` keeps nothing.

    Args:
        data_path: The `.data.bin.gz` file.
        label_path: One class index per line. Default: `NAME-label.txt` beside `NAME-token.data.bin.gz` or
            `NAME.data.bin.gz`, if that exists.
        index_path: Default: the data path with every `data.bin` replaced by `index.npy`.
        grid: Rows and columns of a token map (H, W).
        codebook_size: Number of codes K; by default 510, the most that the format can express.
        with_labels: Whether to read labels; if not, the label file is not opened, and only its size counts.

    Attributes:
        labels: Class indices (N,), int64; None without a label file.
        channels: None, as for the following: a release holds plain codes from 0, its codebook is a file of its own,
            and it has no class names.
        noncanonical_escapes: Bytes 255 without effect; known after all images were decoded.
        stream_sha256: Hash of the decompressed data; likewise.

    Raises:
        ValueError: Index and labels are damaged or do not belong together.
    """

    channels, minimum, dtype = None, 0, np.dtype(np.uint16)
    codebook_sha256 = classes = labels = None

    def __init__(
        self,
        data_path: str | Path,
        label_path: str | Path | None = None,
        index_path: str | Path | None = None,
        grid: tuple[int, int] = (32, 32),
        codebook_size: int | None = None,
        with_labels: bool = True,
    ) -> None:
        self.data_path = Path(data_path)
        self._identity = file_identity(check_regular_file(self.data_path, "release file"))
        self.index_path = Path(index_path) if index_path is not None else release_index_path(self.data_path)
        self.label_path = Path(label_path) if label_path is not None else _default_label_path(self.data_path)
        self.grid = self.sample_shape = check_grid(grid)
        if codebook_size is not None and not 1 <= codebook_size <= MAX_RELEASE_CODES:
            raise ValueError(f"codebook_size is {codebook_size}, a release holds at most {MAX_RELEASE_CODES} codes")
        self.codebook_size = codebook_size or MAX_RELEASE_CODES
        self._offsets, self.index_dtype = self._load_index()
        read = with_labels and self.label_path is not None
        self.labels = _load_labels(self.label_path, len(self)) if read else None
        if self.labels is not None and len(self.labels) != len(self):
            raise ValueError(
                f"{self.label_path} has {len(self.labels)} labels, but {self.index_path} has {len(self)} images"
            )
        self._tokens: np.ndarray | None = None
        self.noncanonical_escapes: int | None = None
        self.stream_sha256: str | None = None

    @property
    def section_bytes(self) -> dict[str, int]:
        labels = 0 if self.label_path is None else self.label_path.stat().st_size
        index = self.index_path.stat().st_size
        data = self.data_path.stat().st_size
        return {"tokens": data, "tables": 0, "index": index, "labels": labels, "checksums": 0, "other": 0}

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, indices: Any) -> np.ndarray:
        """Read tokens (n, H, W), uint16, of samples in [0, N) in any order; see `StoreReader.read`."""
        checked = check_indices(indices, len(self))
        self.decode()
        return self._tokens[checked]

    def decode(self, progress: Progress | None = None) -> None:
        """Decode all samples once and keep them, two bytes per code; `read` does so by itself when it must."""
        if self._tokens is None:
            self._tokens = self.read_all(progress)

    def iter_batches(self) -> Iterator[np.ndarray]:
        """Yield tokens (n, H, W), uint16, of all samples in order, some thousand at a time.

        Data that are corrupt, do not match the index, or hold a wrong number of codes or one that does not exist are a
        `ValueError`.
        """
        digest, noncanonical = hashlib.sha256(), 0
        if file_identity(self.data_path) != self._identity:
            raise ValueError(
                f"{self.data_path} has changed since the release was opened, with the index and labels of the file "
                "before; open it again"
            )
        try:
            with gzip.open(self.data_path, "rb") as stream:
                for start in range(0, len(self), BATCH_IMAGES):
                    offsets = self._offsets[start : start + BATCH_IMAGES + 1]
                    content = self._read_stream(stream, int(offsets[0]), int(offsets[-1]))
                    digest.update(content)
                    codes, counts, extra = decode_release_bytes(content, offsets - offsets[0])
                    noncanonical += extra
                    yield self._checked(codes, counts, start)
                surplus = len(stream.read(2**20))
                while surplus and surplus < _MOST_SURPLUS and (more := len(stream.read(2**20))):
                    surplus += more
                if surplus:
                    self._raise_mismatch(int(self._offsets[-1]) + surplus)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{self.data_path} is truncated or damaged: {error}") from error
        self.stream_sha256, self.noncanonical_escapes = digest.hexdigest(), noncanonical

    def source_entry(self) -> dict[str, Any]:
        """Return what an import keeps in `source`: what tells these files from others, and how they were written."""
        entry: dict[str, Any] = {
            "format": RELEASE_FORMAT,
            "data": {"num_bytes": self._identity.num_bytes, "sha256": _file_sha256(self.data_path)},
            "index": {"dtype": self.index_dtype.str, "content_sha256": sha256_hex(self._index_content())},
        }
        if self.label_path is not None:
            content = read_file(self.label_path, "label file", at_most=_MOST_LABEL_BYTES * (len(self) + 1))
            entry["labels"] = {"sha256": sha256_hex(content), "trailing_newline": content.endswith(b"\n")}
        return entry

    def _load_index(self) -> tuple[np.ndarray, np.dtype]:
        """Read offsets (N + 1,), int64, and the type they are stored in."""
        path, content = self.index_path, self._index_content()
        index = parse_npy(content, path)
        if index.ndim != 1 or index.dtype.kind not in "iu":
            raise ValueError(f"{path} holds {index.dtype} of shape {index.shape}, expected integers (N + 1,)")
        if len(index) < 2:
            raise ValueError(f"{path} holds no images")
        if (wrong := np.flatnonzero(index > np.iinfo(np.int64).max)).size:
            raise ValueError(f"{path}: offset {wrong[0]} is {index[wrong[0]]}, which no file can have")
        offsets = index.astype(np.int64)
        if offsets[0] != 0:
            raise ValueError(f"{path}: the first offset is {offsets[0]}, expected 0")
        if (wrong := np.flatnonzero(offsets[1:] < offsets[:-1])).size:
            start, stop = offsets[wrong[0] : wrong[0] + 2]
            raise ValueError(f"{path}: image {wrong[0]} ends at {stop}, before its start at {start}")
        if offsets[-1] > self._most_bytes:
            raise ValueError(
                f"{path} does not match {self.data_path}: it asks for {offsets[-1]} bytes, of which "
                f"{self._identity.num_bytes} bytes of gzip can hold {self._most_bytes}"
            )
        if (len(offsets) - 1) * math.prod(self.grid) > max(self._most_bytes, _MOST_SURPLUS):
            raise ValueError(f"{path} has {len(offsets) - 1} images, more than {self.data_path} can hold")
        return offsets, np.load(io.BytesIO(content), allow_pickle=False).dtype  # with its byte order

    @property
    def _most_bytes(self) -> int:
        """Bytes that the data can unpack to."""
        return _MAX_DEFLATE_RATIO * self._identity.num_bytes

    def _index_content(self) -> bytes:
        """Return the `.npy` file within the index; it cannot have more entries than the data have images."""
        try:
            packed = read_file(self.index_path, "index", at_most=_MOST_INDEX_BYTES)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.index_path} does not exist, it should hold the index of the data file"
            ) from error
        most = 8 * (self._most_bytes // math.prod(self.grid) + 2) + _MOST_SURPLUS
        return gunzip(packed, self.index_path, at_most=min(most, _MOST_INDEX_BYTES))

    def _read_stream(self, stream: BinaryIO, start: int, stop: int) -> bytes:
        """Read bytes [start, stop) of the decompressed data; the stream stands at `start`."""
        content = stream.read(stop - start)
        if len(content) < stop - start:
            self._raise_mismatch(start + len(content))
        return content

    def _raise_mismatch(self, found: int) -> None:
        raise ValueError(
            f"{self.data_path} does not match {self.index_path}: the stream has {found} bytes, "
            f"the index ends at {self._offsets[-1]}"
        )

    def _checked(self, codes: np.ndarray, counts: np.ndarray, start: int) -> np.ndarray:
        """Reshape codes (sum of counts,) to (n, H, W) after checking counts and range."""
        expected = self.grid[0] * self.grid[1]
        if (wrong := np.flatnonzero(counts != expected)).size:
            image = wrong[0]
            raise ValueError(
                f"{self.data_path}: image {start + image} has {counts[image]} codes, expected {expected} "
                f"for a grid of {self.grid[0]} x {self.grid[1]}"
            )
        if codes.size and codes.max() >= self.codebook_size:
            position = int(np.argmax(codes >= self.codebook_size))
            raise ValueError(
                f"{self.data_path}: image {start + position // expected} holds code {codes[position]}, "
                f"expected codes below {self.codebook_size}"
            )
        return codes.reshape(-1, *self.grid)


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def release_index_path(data_path: Path) -> Path:
    """Return the index that belongs to a data file: every `data.bin` of the path replaced by `index.npy`."""
    if "data.bin" not in str(data_path):
        raise ValueError(f"{data_path} has no 'data.bin' in its name, the path of its index must be given")
    return Path(str(data_path).replace("data.bin", "index.npy"))


def is_release(path: str | Path) -> bool:
    """Tell whether a path names the data file of a release (`.data.bin.gz`), as opposed to the folder of a store."""
    return Path(path).name.endswith(DATA_ENDING)


def open_source(
    path: str | Path, *, grid: tuple[int, int] = (32, 32), allow_incomplete: bool = False
) -> StoreReader | SeitRelease:
    """Open a release if `is_release(path)`, with maps of `grid`, otherwise a store, which knows its own.

    A path that is neither is a `NotAStoreError`, a missing file of a release a `FileNotFoundError`.
    """
    return SeitRelease(path, grid=grid) if is_release(path) else StoreReader(path, allow_incomplete=allow_incomplete)


def _default_label_path(data_path: Path) -> Path | None:
    """Return the label file beside `NAME-token.data.bin.gz` or `NAME.data.bin.gz`; None if there is none."""
    if not is_release(data_path):
        return None
    name = data_path.name.removesuffix(DATA_ENDING).removesuffix("-token")
    path = data_path.with_name(name + SUFFIXES["labels"])
    return path if os.path.lexists(path) else None


def _load_labels(path: Path, num_images: int) -> np.ndarray:
    """Read class indices (N,), int64, one decimal number per line."""
    try:
        content = read_file(path, "label file", at_most=_MOST_LABEL_BYTES * (num_images + 1))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} does not exist, it should hold one label per line") from error
    with parsing(path, "a text file of class indices"):
        lines = content.decode("utf-8").split("\n")
    labels = []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
        if not _LABEL.fullmatch(line.strip(" \t\r")) or int(line) >= 2**32:
            raise ValueError(f"{path}, line {number}: {shown(line)} is not a class index")
        labels.append(int(line))
    return np.array(labels, np.int64)
