"""The token files that the SeiT authors publish: read as they are, imported into a store, and exported again.

Byte layout (also in `docs/storage_format.md`): a gzip stream of all images; a byte below 255 is a code, 255 adds 255 to
the byte that follows. A gzipped `.npy` file holds the byte offsets of the images, a text file their class indices.
"""

import gzip
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import format as store_format
from .reader import StoreReader, TokenSource, check_indices
from .writer import DEFAULT_SHARD_BYTES, StoreWriter

ESCAPE = 255
MAX_RELEASE_CODES = 510  # the largest code is an escape followed by 254
SYNONYMS_SUFFIX = "-synonyms.json"
_BATCH_IMAGES = 4096
_PROBE_BYTES = 2**20  # of a gzip file, to find out its compression level
_MAX_DEFLATE_RATIO = 1032
_FACTS_FORMAT = "seit-release"


class SeitRelease:
    """A published data set of tokens, with the reading interface of `StoreReader`.

    Nothing is decoded before tokens are asked for; the first `read` then decodes the whole file once and keeps it as
    uint16 (2.6 GB for ImageNet-1k). `iter_batches` keeps nothing.

    Args:
        data_path: The `.data.bin.gz` file.
        label_path: One class index per line. Default: `...-token.data.bin.gz` -> `...-label.txt` if that exists.
        index_path: Default: the data path with every `data.bin` replaced by `index.npy`.
        grid: Rows and columns of a token map (H, W).
        codebook_size: Number of codes K; by default 510, the most that the format can express.

    Raises:
        ValueError: Index and labels are damaged or do not belong together.
    """

    def __init__(
        self,
        data_path: str | Path,
        label_path: str | Path | None = None,
        index_path: str | Path | None = None,
        grid: tuple[int, int] = (32, 32),
        codebook_size: int | None = None,
    ) -> None:
        self.data_path = Path(data_path)
        if not self.data_path.is_file():
            raise FileNotFoundError(f"{self.data_path} does not exist")
        self.index_path = Path(index_path) if index_path is not None else release_index_path(self.data_path)
        self.label_path = Path(label_path) if label_path is not None else _default_label_path(self.data_path)
        self._grid = store_format.check_grid(grid)
        if codebook_size is not None and not 1 <= codebook_size <= MAX_RELEASE_CODES:
            raise ValueError(f"codebook_size is {codebook_size}, a release holds at most {MAX_RELEASE_CODES} codes")
        self._codebook_size = codebook_size or MAX_RELEASE_CODES
        self._offsets, self.index_dtype = _load_index(self.index_path)
        self._labels = None if self.label_path is None else _load_labels(self.label_path)
        if self._labels is not None and len(self._labels) != len(self):
            raise ValueError(
                f"{self.label_path} has {len(self._labels)} labels, but {self.index_path} has {len(self)} images"
            )
        self._tokens: np.ndarray | None = None
        self.noncanonical_escapes: int | None = None  # known after all images were decoded
        self.stream_sha256: str | None = None  # of the decompressed data, likewise

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a token map."""
        return self._grid

    @property
    def codebook_size(self) -> int:
        """Number of codes K."""
        return self._codebook_size

    @property
    def codebook_sha256(self) -> str | None:
        """None: a release keeps its codebook in a file of its own."""
        return None

    @property
    def classes(self) -> list[str] | None:
        """None: a release has no class names."""
        return None

    @property
    def labels(self) -> np.ndarray | None:
        """Class indices (N,), int64; None without a label file."""
        return self._labels

    @property
    def section_bytes(self) -> dict[str, int]:
        """Bytes on disk by purpose; `other` is the index."""
        labels = 0 if self.label_path is None else self.label_path.stat().st_size
        index = self.index_path.stat().st_size
        return {"tokens": self.data_path.stat().st_size, "labels": labels, "checksums": 0, "other": index}

    @property
    def num_bytes(self) -> int:
        """Bytes of the data, index and label files."""
        return sum(self.section_bytes.values())

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, indices: Any) -> np.ndarray:
        """Tokens (n, H, W), uint16, of samples in [0, N) in any order; see `StoreReader.read`."""
        checked = check_indices(indices, len(self))
        self.decode()
        return self._tokens[checked]

    def decode(self, progress: store_format.Progress | None = None) -> None:
        """Decode all samples once and keep them, two bytes a code; `read` does so by itself when it must."""
        if self._tokens is None:
            self._tokens = self.read_all(progress)

    def read_all(self, progress: store_format.Progress | None = None) -> np.ndarray:
        """Tokens of all samples (N, H, W), uint16; `progress` is called with samples done and their total."""
        tokens = np.empty((len(self), *self.grid), np.uint16)
        done = 0
        for batch in self.iter_batches():
            tokens[done : done + len(batch)] = batch
            done += len(batch)
            if progress is not None:
                progress(done, len(self))
        return tokens

    def iter_batches(self) -> Iterator[np.ndarray]:
        """Tokens (n, H, W), uint16, of all samples in order, some thousand at a time.

        Raises:
            ValueError: The data are corrupt, do not match the index, or hold an image with a wrong number of codes or
                a code outside the codebook.
        """
        digest, noncanonical = hashlib.sha256(), 0
        try:
            with gzip.open(self.data_path, "rb") as stream:
                for start in range(0, len(self), _BATCH_IMAGES):
                    offsets = self._offsets[start : start + _BATCH_IMAGES + 1]
                    content = self._read_stream(stream, int(offsets[0]), int(offsets[-1]))
                    digest.update(content)
                    codes, counts, extra = decode_release_bytes(content, offsets - offsets[0])
                    noncanonical += extra
                    yield self._checked(codes, counts, start)
                if surplus := sum(map(len, iter(lambda: stream.read(2**20), b""))):
                    self._raise_mismatch(int(self._offsets[-1]) + surplus)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{self.data_path} is truncated or damaged: {error}") from error
        self.stream_sha256, self.noncanonical_escapes = digest.hexdigest(), noncanonical

    def source_facts(self) -> dict[str, Any]:
        """What is needed to write the same files again, as JSON: gzip headers, checksums, text and index details."""
        facts: dict[str, Any] = {
            "format": _FACTS_FORMAT,
            "data": gzip_facts(self.data_path),
            "index": {
                **gzip_facts(self.index_path),
                "dtype": self.index_dtype.str,
                "content_sha256": store_format.sha256_hex(gzip.decompress(self.index_path.read_bytes())),
            },
        }
        if self.label_path is not None:
            content = self.label_path.read_bytes()
            facts["labels"] = {
                "num_bytes": len(content),
                "sha256": store_format.sha256_hex(content),
                "trailing_newline": content.endswith(b"\n"),
            }
        return facts

    def _read_stream(self, stream: BinaryIO, start: int, stop: int) -> bytes:
        if stop - start > _MAX_DEFLATE_RATIO * self.data_path.stat().st_size:
            raise ValueError(
                f"{self.index_path} does not match {self.data_path}: it asks for {stop - start} bytes at once"
            )
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


def release_index_path(data_path: Path) -> Path:
    """The index that belongs to a data file: every `data.bin` of the path replaced by `index.npy`."""
    if "data.bin" not in str(data_path):
        raise ValueError(f"{data_path} has no 'data.bin' in its name, the path of its index must be given")
    return Path(str(data_path).replace("data.bin", "index.npy"))


def decode_release_bytes(content: bytes, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Decode the byte streams of some images at once.

    A byte below 255 gives a code, 255 more if the byte before it in the same image is 255. A byte 255 gives none.

    Args:
        content: Bytes of the images, one after the other.
        offsets: Where each image starts, and the end (n + 1,), nondecreasing from 0 to the length of `content`.

    Returns:
        The codes of all images, uint16; their number for each image (n,); and how many bytes 255 were without effect,
        that is followed by another one or at the end of an image, as no canonical writer produces them.
    """
    stream = np.frombuffer(content, np.uint8)
    is_escape = stream == ESCAPE
    escaped = np.zeros_like(is_escape)
    escaped[1:] = is_escape[:-1]
    starts = offsets[:-1]
    escaped[starts[starts < len(stream)]] = False  # an escape never reaches into the next image
    emits = ~is_escape
    codes = stream.astype(np.uint16)
    codes += escaped.astype(np.uint16) * np.uint16(ESCAPE)
    escapes_before = np.searchsorted(np.flatnonzero(is_escape), offsets)
    counts = np.diff(offsets) - np.diff(escapes_before)
    unused = int(escapes_before[-1]) - int(np.count_nonzero(escaped & emits))
    return codes[emits], counts, unused


def encode_release_bytes(tokens: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Encode images canonically: one escape for every code of 255 and above, none otherwise.

    Args:
        tokens: Codes (n, H, W) or (n, T) of any integer type, in [0, 510).

    Returns:
        The bytes of all images, and where each starts with the end (n + 1,), int64.
    """
    codes = np.asarray(tokens).reshape(len(tokens), -1)
    if codes.size and (codes.min() < 0 or codes.max() >= MAX_RELEASE_CODES):
        image, position = np.argwhere((codes < 0) | (codes >= MAX_RELEASE_CODES))[0]
        raise ValueError(
            f"image {image}: code {codes[image, position]} is not in [0, {MAX_RELEASE_CODES}) of a release"
        )
    wide = codes >= ESCAPE
    pairs = np.full((*codes.shape, 2), ESCAPE, np.uint8)  # an escape, which narrow codes drop again, and the byte
    pairs[..., 1] = codes - wide * ESCAPE
    keep = np.ones(pairs.shape, bool)
    keep[..., 0] = wide
    lengths = codes.shape[1] + wide.sum(axis=1)
    return pairs[keep].tobytes(), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@dataclass(frozen=True)
class ReleaseImport:
    """What an import found.

    Args:
        num_samples: Images imported.
        noncanonical_escapes: Bytes 255 without effect; the codes are right, but an export leaves them out.
    """

    num_samples: int
    noncanonical_escapes: int


def import_release(
    release: SeitRelease,
    out: str | Path,
    *,
    codebook: np.ndarray | None = None,
    tokenizer: dict[str, Any] | None = None,
    classes: list[str] | None = None,
    synonyms: dict[int, list[int]] | None = None,
    codec: str = "bitpacked",
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    resume: bool = False,
    progress: store_format.Progress | None = None,
) -> ReleaseImport:
    """Write a release into a store, along with what `write_release` needs to reproduce its files.

    Args:
        release: The release to read.
        out: Folder of the new store.
        codebook: Code vectors (K, D). Without them K is the codebook size of the release.
        tokenizer: What made the tokens, for the header of the store.
        classes: Class names.
        synonyms: Similar codes for each code, best first.
        codec: Codec of the store.
        shard_bytes: Size that a shard should not exceed.
        resume: Continue an interrupted import.
        progress: Called with samples done and their total.
    """
    codebook_size = release.codebook_size if codebook is None else len(codebook)
    if release.codebook_size not in (codebook_size, MAX_RELEASE_CODES):
        raise ValueError(f"the codebook has {codebook_size} rows, the release {release.codebook_size} codes")
    labels = release.labels
    label_dtype = None
    if labels is not None and classes is None:
        label_dtype = store_format.smallest_label_dtype(int(labels.max()) + 1)
    with StoreWriter(
        out,
        codebook_size=codebook_size,
        grid=release.grid,
        tokenizer=tokenizer or {"name": "unknown"},
        codebook=codebook,
        codec=codec,
        label_kind="none" if labels is None else "class",
        classes=classes,
        label_dtype=label_dtype,
        source={"release": release.source_facts()},
        synonyms=synonyms,
        shard_bytes=shard_bytes,
        resume=resume,
    ) as writer:
        done = 0
        for batch in release.iter_batches():
            new = slice(min(len(batch), max(0, writer.num_samples - done)), None)
            if len(batch[new]):
                writer.append(batch[new], None if labels is None else labels[done : done + len(batch)][new])
            done += len(batch)
            if progress is not None:
                progress(done, len(release))
        noncanonical = release.noncanonical_escapes or 0
        writer.update_source(
            {"release_stream": {"sha256": release.stream_sha256, "noncanonical_escapes": noncanonical}}
        )
    return ReleaseImport(len(release), noncanonical)


@dataclass(frozen=True)
class ExportedFile:
    """One file written by `write_release`.

    Args:
        path: Where it lies.
        num_bytes: Its size.
        same_file: Whether it equals, byte for byte, the file that was imported; None if nothing was imported.
        same_content: The same for what it holds after decompression.
    """

    path: Path
    num_bytes: int
    same_file: bool | None
    same_content: bool | None


def write_release(
    source: TokenSource | np.ndarray,
    prefix: str | Path,
    *,
    labels: np.ndarray | None = None,
    progress: store_format.Progress | None = None,
) -> list[ExportedFile]:
    """Write tokens as release files `PREFIX-token.data.bin.gz`, `PREFIX-token.index.npy.gz` and `PREFIX-label.txt`.

    The stream is canonical. A store that came from a release is written with the gzip settings of that release, so that
    the same zlib gives the same files; others get level 9 without time stamp and name.

    Args:
        source: A store, a release, or codes (N, H, W), below 510.
        prefix: Where to write, for example `out/toy-train`; nothing is overwritten.
        labels: Class indices (N,), only if `source` is an array.
        progress: Called with samples done and their total.

    Returns:
        The written files, in the order above; a store with synonyms adds `PREFIX-synonyms.json`.
    """
    facts, stream_facts = _release_facts(source)
    labels = labels if isinstance(source, np.ndarray) else source.labels
    if labels is not None and len(labels) != len(source):
        raise ValueError(f"{len(labels)} labels were given for {len(source)} samples")
    paths = {key: Path(f"{prefix}{suffix}") for key, suffix in _SUFFIXES.items()}
    if present := [path for path in paths.values() if path.exists()]:
        raise FileExistsError(f"{present[0]} exists already")
    paths["data"].parent.mkdir(parents=True, exist_ok=True)

    offsets = np.zeros(len(source) + 1, np.int64)
    done = 0
    with _GzipFile(paths["data"], facts.get("data", {})) as file:
        for batch in _batches(source):
            try:
                content, starts = encode_release_bytes(batch)
            except ValueError as error:
                raise ValueError(f"{error} (images counted from {done})") from error
            offsets[done + 1 : done + len(starts)] = offsets[done] + starts[1:]
            file.write(content)
            done += len(batch)
            if progress is not None:
                progress(done, len(source))
    exported = [file.result(stream_facts.get("sha256"))]
    with _GzipFile(paths["index"], facts.get("index", {})) as file:
        file.write(_index_bytes(offsets, facts.get("index", {}).get("dtype", "<i8")))
    exported.append(file.result(facts.get("index", {}).get("content_sha256")))
    if labels is not None:
        content = "\n".join(map(str, labels.tolist())) + "\n"
        content = content if facts.get("labels", {}).get("trailing_newline", True) else content[:-1]
        exported.append(_write_plain(paths["labels"], content.encode("ascii"), facts.get("labels", {}).get("sha256")))
    if isinstance(source, StoreReader) and source.synonyms is not None:
        exported.append(_write_plain(paths["synonyms"], store_format.dump_synonyms(source.synonyms), None))
    return exported


_SUFFIXES = {
    "data": "-token.data.bin.gz",
    "index": "-token.index.npy.gz",
    "labels": "-label.txt",
    "synonyms": SYNONYMS_SUFFIX,
}


def gzip_facts(path: Path) -> dict[str, Any]:
    """How a gzip file was made (RFC 1952 header fields, zlib level), its size, and its checksums.

    `level` is one with which zlib reproduces the beginning of the file, at most the first MiB, or None. The level that
    the header hints at is tried first, then zlib's default, then the others from 9 down.
    """
    with open(path, "rb") as file:
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
        plain = deflate.decompress(head[body:])
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


class _GzipFile:
    """Writes one gzip member with given header fields; the file appears under its name when it is complete."""

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self._facts = path, facts
        self._temporary = path.with_name(path.name + ".tmp")
        self._deflate = zlib.compressobj(facts.get("level") or 9, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._file_digest, self._content_digest = hashlib.sha256(), hashlib.sha256()
        self._crc = self._content_bytes = self._num_bytes = 0

    def __enter__(self) -> "_GzipFile":
        self._file = open(self._temporary, "wb")
        name = self._facts.get("filename")
        fields = (self._facts.get("mtime", 0), self._facts.get("xfl", 2), self._facts.get("os", 255))
        self._emit(b"\x1f\x8b\x08" + struct.pack("<BIBB", 0 if name is None else 8, *fields))
        if name is not None:
            self._emit(name.encode("latin-1") + b"\0")
        return self

    def write(self, content: bytes) -> None:
        self._crc = zlib.crc32(content, self._crc)
        self._content_bytes += len(content)
        self._content_digest.update(content)
        self._emit(self._deflate.compress(content))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._emit(self._deflate.flush() + struct.pack("<II", self._crc, self._content_bytes % 2**32))
        self._file.close()
        if kind is None:
            os.replace(self._temporary, self.path)
        else:
            self._temporary.unlink()

    def result(self, content_sha256: str | None) -> ExportedFile:
        """The finished file, compared with what was imported."""
        file_sha256 = self._facts.get("sha256")
        return ExportedFile(
            self.path,
            self._num_bytes,
            None if file_sha256 is None else self._file_digest.hexdigest() == file_sha256,
            None if content_sha256 is None else self._content_digest.hexdigest() == content_sha256,
        )

    def _emit(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._file_digest.update(chunk)
        self._num_bytes += len(chunk)


def _write_plain(path: Path, content: bytes, sha256: str | None) -> ExportedFile:
    store_format.atomic_write(path, [content])
    same = None if sha256 is None else store_format.sha256_hex(content) == sha256
    return ExportedFile(path, len(content), same, same)


def _release_facts(source: TokenSource | np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an import recorded about files and stream; empty dicts for tokens that came from elsewhere."""
    if isinstance(source, SeitRelease):
        return source.source_facts(), {}
    if not isinstance(source, StoreReader):
        return {}, {}
    provenance = source.header["source"]
    facts = provenance.get("release")
    if not isinstance(facts, dict) or facts.get("format") != _FACTS_FORMAT:
        return {}, {}
    return facts, provenance.get("release_stream", {})


def _batches(source: TokenSource | np.ndarray) -> Iterator[np.ndarray]:
    if not isinstance(source, np.ndarray):
        yield from source.iter_batches()
        return
    for start in range(0, len(source), _BATCH_IMAGES):
        yield source[start : start + _BATCH_IMAGES]


def _index_bytes(offsets: np.ndarray, dtype: str) -> bytes:
    """Offsets as a `.npy` file of the given type, or of int64 if they do not fit into it."""
    wanted = np.dtype(dtype)
    stored = offsets.astype(wanted if offsets[-1] <= np.iinfo(wanted).max else np.int64)
    file = io.BytesIO()
    np.save(file, stored, allow_pickle=False)
    return file.getvalue()


def _default_label_path(data_path: Path) -> Path | None:
    suffix = _SUFFIXES["data"]
    if not data_path.name.endswith(suffix):
        return None
    path = data_path.with_name(data_path.name[: -len(suffix)] + _SUFFIXES["labels"])
    return path if path.is_file() else None


def _load_index(path: Path) -> tuple[np.ndarray, np.dtype]:
    """Offsets (N + 1,), int64, and the type they are stored in."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, it should hold the index of the data file")
    try:
        with gzip.open(path, "rb") as file:
            index = np.load(io.BytesIO(file.read()), allow_pickle=False)
    except (gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error
    if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(f"{path} holds {index.dtype} of shape {index.shape}, expected integers (N + 1,)")
    if len(index) < 2:
        raise ValueError(f"{path} holds no images")
    offsets = index.astype(np.int64)
    if offsets[0] != 0:
        raise ValueError(f"{path}: the first offset is {offsets[0]}, expected 0")
    if (wrong := np.flatnonzero(np.diff(offsets) < 0)).size:
        image = wrong[0]
        raise ValueError(f"{path}: image {image} ends at {offsets[image + 1]}, before its start at {offsets[image]}")
    return offsets, index.dtype


def _load_labels(path: Path) -> np.ndarray:
    """Class indices (N,), int64, one decimal number per line."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist, it should hold one label per line")
    labels = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip().isdecimal():
            raise ValueError(f"{path}, line {number}: {line!r} is not a class index")
        labels.append(int(line))
    return np.array(labels, np.int64)
