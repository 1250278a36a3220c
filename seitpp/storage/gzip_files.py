"""Gzip files written so that they can come out byte for byte as another program made them (RFC 1952).

How a file was made is read off its header and probed; a writer then follows it. Used to export what was imported.
"""

import hashlib
import struct
import zlib
from pathlib import Path
from typing import Any

from seitpp.io.untrusted import check_regular_file, parsing, shown, text, whole_number

_PROBE_BYTES = 2**20  # of a gzip file, to find out its compression level
_PROBE_PLAIN_BYTES = 2**24  # of what they unpack to


def gzip_facts(path: Path) -> dict[str, Any]:
    """How a gzip file was made (RFC 1952 header fields, zlib level), its size, and its checksums.

    `level` is one with which zlib reproduces the beginning of the file, at most the first MiB, or None. The level that
    the header hints at is tried first, then zlib's default, then the others from 9 down.
    """
    with open(check_regular_file(path, "gzip file"), "rb") as file:
        head = file.read(_PROBE_BYTES)
        digest = hashlib.sha256(head)
        while chunk := file.read(_PROBE_BYTES):
            digest.update(chunk)
    if len(head) < 18 or head[:3] != b"\x1f\x8b\x08":
        raise ValueError(f"{path} is not a gzip file")
    flags, mtime, xfl, os_code = struct.unpack("<BIBB", head[3:10])
    body, filename = 10, None
    if flags & 4:  # extra field
        body += 2 + int.from_bytes(head[10:12], "little")
    if flags & 8:
        filename, body = _zero_terminated(head, body)
    if flags & 16:  # comment
        body = _zero_terminated(head, body)[1]
    if flags & 2:  # header checksum
        body += 2
    deflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = deflate.decompress(head[body:], _PROBE_PLAIN_BYTES)
    except zlib.error as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    return {
        "mtime": mtime,
        "xfl": xfl,
        "os": os_code,
        "filename": filename,
        "level": _probe_level(plain, head[body : len(head) - len(deflate.unused_data)], xfl, deflate.eof),
        "num_bytes": path.stat().st_size,
        "sha256": digest.hexdigest(),
    }


def _probe_level(plain: bytes, compressed: bytes, xfl: int, whole: bool) -> int | None:
    """The zlib level that turns `plain` into `compressed`, or into a beginning of it unless it is the `whole`."""
    hinted = {2: [9], 4: [1]}.get(xfl, [])
    for level in dict.fromkeys([*hinted, 6, *range(9, 0, -1)]):
        deflate = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        found = deflate.compress(plain)
        if whole:
            found += deflate.flush()
        if found == compressed if whole else (found and compressed.startswith(found)):
            return level
    return None


def _zero_terminated(head: bytes, start: int) -> tuple[str, int]:
    """A latin-1 string of a gzip header, and the position after its zero byte."""
    end = head.find(b"\0", start)
    end = len(head) if end < 0 else end
    return head[start:end].decode("latin-1"), end + 1


def check_gzip_facts(facts: Any, name: str) -> dict[str, Any]:
    """Return what a header says of a gzip file, as `gzip_facts` gives it and a file can be written by; {} for None.

    Raises:
        ValueError: A value is none that a gzip header can hold.
    """
    if facts is None:
        return {}
    if not isinstance(facts, dict):
        raise ValueError(f"{name} is {shown(facts)}, expected an object")
    for key, most in (("mtime", 2**32 - 1), ("xfl", 255), ("os", 255)):
        whole_number(facts.get(key, 0), f"{name}.{key}", 0, most)
    if facts.get("level") is not None:
        whole_number(facts["level"], f"{name}.level", 1, 9)
    if (filename := facts.get("filename")) is not None:
        with parsing(f"{name}.filename", "the name of a file in Latin-1"):
            if b"\0" in text(filename, "it").encode("latin-1"):
                raise ValueError("it has a zero byte")
    return facts


class GzipWriter:
    """Writes one gzip member with given header fields.

    Args:
        path: The file to write, one put aside that is renamed when it is complete.
        facts: `mtime`, `xfl`, `os`, `filename` and `level` as `gzip_facts` gives them; what is missing is written as
            level 9 without time stamp and name.
    """

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self._facts = path, facts
        self._deflate = zlib.compressobj(facts.get("level") or 9, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._file_digest, self._content_digest = hashlib.sha256(), hashlib.sha256()
        self._crc = self._content_bytes = self._num_bytes = 0

    def __enter__(self) -> "GzipWriter":
        self._file = open(self.path, "wb")
        name = self._facts.get("filename")
        fields = (self._facts.get("mtime", 0), self._facts.get("xfl", 2), self._facts.get("os", 255))
        self._emit(b"\x1f\x8b\x08" + struct.pack("<BIBB", 0 if name is None else 8, *fields))
        if name is not None:
            self._emit(name.encode("latin-1") + b"\0")
        return self

    def write(self, content: bytes) -> None:
        """Compress `content` and append it."""
        self._crc = zlib.crc32(content, self._crc)
        self._content_bytes += len(content)
        self._content_digest.update(content)
        self._emit(self._deflate.compress(content))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is None:
                self._emit(self._deflate.flush() + struct.pack("<II", self._crc, self._content_bytes % 2**32))

    @property
    def num_bytes(self) -> int:
        """Bytes written so far, compressed."""
        return self._num_bytes

    @property
    def file_sha256(self) -> str:
        """Hash of the compressed bytes."""
        return self._file_digest.hexdigest()

    @property
    def content_sha256(self) -> str:
        """Hash of what was given to `write`."""
        return self._content_digest.hexdigest()

    def _emit(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._file_digest.update(chunk)
        self._num_bytes += len(chunk)
