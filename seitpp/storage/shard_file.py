"""One shard on disk: checked against the header of its store when it is opened, then read through a memory map."""

import math
import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seitpp.io.untrusted import check_regular_file
from seitpp.storage import format as store_format
from seitpp.storage.codec_names import Codec, codec_from_header
from seitpp.storage.shard import SHARD_HEADER, SHARD_MAGIC, ShardLayout, sample_checksums


class FileIdentity(NamedTuple):
    """What tells a file from another one under its name, without reading it."""

    device: int
    inode: int
    num_bytes: int
    modified_ns: int
    changed_ns: int


def file_identity(file: int | Path) -> FileIdentity:
    """The identity of a file that is open, or that lies at a path."""
    found = os.stat(file)
    return FileIdentity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class ShardFile:
    """Random access to the samples of one shard, by their place in it, where all rows have the same size.

    It can be pickled and forked: the memory map is opened when first needed. Then the file must still be the one that
    was checked: another one would give new tokens beside old labels.

    Args:
        path: The file.
        identity: What told it from other files when it was checked, see `file_identity`.
        sha256: Hash of its content, by which an exact copy passes for it.
        codec: How its rows are stored.
        layout: Where its sections lie.
        shape: Shape of the codes of a sample, (H, W, C).
    """

    def __init__(
        self,
        path: Path,
        identity: FileIdentity,
        sha256: str,
        codec: Codec,
        layout: ShardLayout,
        shape: tuple[int, int, int],
    ) -> None:
        self.path = path
        self.identity = identity
        self.sha256 = sha256
        self.codec = codec
        self.layout = layout
        self.shape = shape
        self._bytes: np.ndarray | None = None
        self._map: mmap.mmap | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bytes": None, "_map": None}

    def __len__(self) -> int:
        return self.layout.num_samples

    @property
    def content(self) -> np.ndarray:
        """All bytes of the file, memory-mapped.

        Raises:
            ValueError: It is not the file any more that was checked when the store was opened.
        """
        if self._bytes is None:
            self._open()
        elif not self._is_unchanged():
            self._bytes = None
            self._open()
        return self._bytes

    def _open(self) -> None:
        """Map the file, if it is the one that was checked or an exact copy."""
        with open(check_regular_file(self.path, "shard"), "rb") as file:
            found = file_identity(file.fileno())
            content = None
            if found.num_bytes == self.identity.num_bytes:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                content = np.frombuffer(self._map, np.uint8)
            if content is None or (found != self.identity and store_format.sha256_hex(content) != self.sha256):
                raise ValueError(
                    f"{self.path} has changed since the store was opened ({self.identity.num_bytes} bytes then, "
                    f"{found.num_bytes} now): open the store again, and write stores under new names"
                )
        self.identity, self._bytes = found, content

    def _is_unchanged(self) -> bool:
        """Whether the mapped file is as it was. One that was replaced or removed stays mapped and does not change."""
        try:
            found = file_identity(self.path)
        except OSError:
            found = None
        if found is not None and found[:2] == self.identity[:2]:
            return found == self.identity
        return self._map.size() == self.identity.num_bytes  # reading beyond the end would end the process

    def decode(self, places: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Samples at some places.

        Returns:
            Codes (n, T), not checked against the codebook size, and whether each row could be decoded (n,); None if
            any bytes are codes.
        """
        rows = self.section(self.layout.tokens_offset, self.layout.token_bytes).reshape(len(self), -1)
        return self.codec.decode(rows[places], int(np.prod(self.shape))), None

    def rows(self) -> Iterable[np.ndarray]:
        """The encoded row of every sample, uint8."""
        return self.section(self.layout.tokens_offset, self.layout.token_bytes).reshape(len(self), -1)

    def label_bytes(self) -> np.ndarray:
        """Labels of all samples as they are stored, uint8 (n, L)."""
        labels = self.section(self.layout.labels_offset, len(self) * self.layout.label_bytes)
        return labels.reshape(len(self), self.layout.label_bytes)

    def labels(self, dtype: np.dtype) -> np.ndarray:
        """Labels (n,) of all samples."""
        return self.section(self.layout.labels_offset, len(self) * self.layout.label_bytes).view(dtype)

    def stored_checksums(self) -> np.ndarray:
        """CRC-32 (n,) of every sample as the file has them."""
        return self.section(self.layout.checksums_offset, 4 * len(self)).view("<u4")

    def found_checksums(self) -> Iterable[int]:
        """CRC-32 of every sample, computed from its bytes."""
        return sample_checksums(self.rows(), self.label_bytes())

    def section(self, offset: int, num_bytes: int) -> np.ndarray:
        """A part of the file, uint8 (num_bytes,)."""
        return self.content[offset : offset + num_bytes]


def open_shards(folder: Path, header: dict[str, Any]) -> list[ShardFile]:
    """The shards of a store, after comparing size and header of each with `header.json`; contents are not read.

    Raises:
        ValueError: Names every shard that is missing, has the wrong size, or the wrong header.
    """
    shape = (*header["grid"], header.get("channels", 1))
    codec = codec_from_header(header["codec"], header["codebook_size"])
    label_bytes = store_format.label_layout(header["labels"])[1]
    shards, problems = [], []
    for entry in header["shards"]:
        path = folder / entry["file"]
        try:
            layout, identity = _checked_layout(path, entry, codec, math.prod(shape), label_bytes)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        shards.append(ShardFile(path, identity, entry["sha256"], codec, layout, shape))
    if problems:
        raise ValueError("; ".join(problems))
    return shards


def _checked_layout(
    path: Path, entry: dict[str, Any], codec: Codec, num_codes: int, label_bytes: int
) -> tuple[ShardLayout, FileIdentity]:
    """Layout and identity of a shard; `ValueError` if size or header are not those that follow from `entry`."""
    num_samples = entry["num_samples"]
    try:
        check_regular_file(path, "shard")
    except FileNotFoundError:
        raise ValueError(f"{path} is missing") from None
    with open(path, "rb") as file:
        identity = file_identity(file.fileno())
        row_bytes = codec.row_bytes(num_codes)
        layout = ShardLayout(num_samples, row_bytes, label_bytes, num_samples * row_bytes)
        if identity.num_bytes != layout.num_bytes or entry["num_bytes"] != layout.num_bytes:
            raise ValueError(
                f"{path} has {identity.num_bytes} bytes, expected {layout.num_bytes} for {num_samples} samples: "
                "truncated or damaged"
            )
        found = file.read(SHARD_HEADER.size)
    if found[: len(SHARD_MAGIC)] != SHARD_MAGIC:
        raise ValueError(f"{path} starts with {found[: len(SHARD_MAGIC)]!r}, expected {SHARD_MAGIC!r}: not a shard")
    try:
        sealed = layout.pack()
    except struct.error as error:  # a number that no shard header can hold
        raise ValueError(f"{path}: a shard of {num_samples} samples is none that there can be ({error})") from error
    if found != sealed:
        raise ValueError(f"{path}: the {SHARD_HEADER.size}-byte shard header contradicts {store_format.HEADER_FILE}")
    return layout, identity
