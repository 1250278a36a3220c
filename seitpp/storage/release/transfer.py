"""A release into a store and back: an import keeps what an export needs to give files of equal content."""

import gzip
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.atomic_write import written_whole
from seitpp.io.text import shown
from seitpp.storage.header import HEADER_FILE, Progress, sha256_hex, smallest_label_dtype
from seitpp.storage.reader import StoreReader
from seitpp.storage.release.escapes import MAX_RELEASE_CODES, encode_release_bytes
from seitpp.storage.release.reader import BATCH_IMAGES, RELEASE_FORMAT, SUFFIXES, SeitRelease
from seitpp.storage.rewrite import rewrite_store
from seitpp.storage.settings import StoreSettings
from seitpp.storage.side_files import SynonymTable, dump_synonyms, npy_bytes
from seitpp.storage.source import TokenSource
from seitpp.storage.writer import StoreWriter

# What the offsets of a release may be stored in.
_INDEX_DTYPES = ("|i1", "|u1", *(f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8)))


def import_release(
    release: SeitRelease,
    out: str | Path,
    *,
    codebook: np.ndarray | None = None,
    tokenizer: dict[str, Any] | None = None,
    classes: list[str] | None = None,
    synonyms: dict[int, list[int]] | None = None,
    **options: Any,
) -> None:
    """Write a release into a store, along with what `write_release` needs to give files of equal content.

    Args:
        release: The release to read; it knows its `noncanonical_escapes` afterwards.
        codebook: Code vectors (K, D). Without them K is the codebook size of the release.
        tokenizer: What made the tokens, for the header of the store.
        synonyms: Similar codes for each code, best first; a table from `load_synonyms` is exported as the same file.
        **options: `codec`, `shard_bytes`, `resume` and `progress` of `rewrite_store`, whose errors are raised.

    Raises:
        ValueError: The files are damaged or contradict the codebook.
    """
    codebook_size = release.codebook_size if codebook is None else len(codebook)
    if release.codebook_size not in (codebook_size, MAX_RELEASE_CODES):
        raise ValueError(f"the codebook has {codebook_size} rows, the release {release.codebook_size} codes")
    labels = release.labels
    entry = release.source_entry()
    if isinstance(synonyms, SynonymTable):
        entry["synonyms"] = {"sha256": sha256_hex(dump_synonyms(synonyms))}
    settings = StoreSettings(
        codebook_size=codebook_size,
        grid=release.grid,
        tokenizer=tokenizer or {"name": "unknown"},
        codebook=codebook,
        label_kind="none" if labels is None else "class",
        classes=classes,
        label_dtype=None if labels is None or classes else smallest_label_dtype(int(labels.max()) + 1),
        source={"release": entry},
        synonyms=synonyms,
    )

    def add_stream(writer: StoreWriter) -> None:
        stream = {"sha256": release.stream_sha256, "noncanonical_escapes": release.noncanonical_escapes}
        writer.update_source({"release_stream": stream})

    rewrite_store(release, out, settings, at_end=add_stream, **options)


@dataclass(frozen=True)
class ExportedFile:
    """A file written by `write_release`.

    `same_content` tells whether it holds, after decompression, what the imported file held; None if none was imported.
    """

    path: Path
    num_bytes: int
    same_content: bool | None


def write_release(
    source: TokenSource | np.ndarray,
    prefix: str | Path,
    *,
    labels: np.ndarray | None = None,
    progress: Progress | None = None,
) -> list[ExportedFile]:
    """Write tokens as release files `PREFIX-token.data.bin.gz`, `PREFIX-token.index.npy.gz` and `PREFIX-label.txt`.

    The stream is canonical, and the gzip files have neither time stamp nor name, so that equal tokens give equal files
    with the same zlib. A store that came from a release gives files of the same content as that release.

    Args:
        source: A store, a release, or codes (N, H, W), below 510.
        prefix: Where to write, for example `out/toy-train`; nothing is overwritten.
        labels: Class indices (N,), only if `source` is an array.

    Returns:
        The written files, in the order above; a store with synonyms adds `PREFIX-synonyms.json`.

    Raises:
        FileExistsError: One of the files exists.
        ValueError: The samples are not codes that a release can hold, there are other numbers of labels, or a shard is
            damaged.
    """
    if not isinstance(source, np.ndarray) and (source.channels is not None or source.minimum):
        raise ValueError(
            f"samples have shape {source.sample_shape} and values from {source.minimum}; a release holds plain codes "
            "(H, W) from 0, so this store cannot be exported as one"
        )
    imported, stream = _imported(source)
    labels = labels if isinstance(source, np.ndarray) else source.labels
    if labels is not None and len(labels) != len(source):
        raise ValueError(f"{len(labels)} labels were given for {len(source)} samples")
    paths = {key: Path(f"{prefix}{suffix}") for key, suffix in SUFFIXES.items()}
    if present := [path for path in paths.values() if path.exists()]:
        raise FileExistsError(f"{present[0]} exists already")
    exported: list[ExportedFile] = []
    with ExitStack() as files:  # none appears under its name before all are written, and the source was found sound

        def write(key: str, contents: Iterator[bytes], sha256: str | None, *, packed: bool = False) -> None:
            aside, digest = files.enter_context(written_whole(paths[key])), hashlib.sha256()
            with open(aside, "wb") as file:
                target = gzip.GzipFile("", "wb", 9, file, mtime=0) if packed else file
                for content in contents:
                    digest.update(content)
                    target.write(content)
                target.close()
            same = None if sha256 is None else digest.hexdigest() == sha256
            exported.append(ExportedFile(paths[key], aside.stat().st_size, same))

        offsets = np.zeros(len(source) + 1, np.int64)
        write("data", _stream(source, offsets, progress), stream.get("sha256"), packed=True)
        index = imported.get("index", {})
        content = map(_index_bytes, [offsets], [index.get("dtype", "<i8")])  # once the offsets are known
        write("index", content, index.get("content_sha256"), packed=True)
        if labels is not None:
            of_labels = imported.get("labels", {})
            text = "\n".join(map(str, labels.tolist())) + "\n" * of_labels.get("trailing_newline", True)
            write("labels", iter([text.encode("ascii")]), of_labels.get("sha256"))
        if isinstance(source, StoreReader) and source.synonyms is not None:
            write("synonyms", iter([dump_synonyms(source.synonyms)]), imported.get("synonyms", {}).get("sha256"))
    return exported


def _stream(source: TokenSource | np.ndarray, offsets: np.ndarray, progress: Progress | None) -> Iterator[bytes]:
    """Yield the bytes of all images, and write into `offsets` (N + 1,) where each starts, and the end."""
    done = 0
    for batch in _batches(source):
        try:
            content, starts = encode_release_bytes(batch)
        except ValueError as error:
            raise ValueError(f"{error} (images counted from {done})") from error
        offsets[done + 1 : done + len(starts)] = offsets[done] + starts[1:]
        yield content
        done += len(batch)
        if progress is not None:
            progress(done, len(source))


def _imported(source: TokenSource | np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what an import recorded about files and stream; empty dicts for tokens that came from elsewhere."""
    if isinstance(source, SeitRelease):
        return source.source_entry(), {}
    if not isinstance(source, StoreReader):
        return {}, {}
    imported, stream = (source.header["source"].get(key, {}) for key in ("release", "release_stream"))
    if not isinstance(imported, dict) or imported.get("format") != RELEASE_FORMAT:
        return {}, {}
    name = f"{source.path / HEADER_FILE}: source.release"
    for key, entry in {**{f".{key}": imported.get(key, {}) for key in SUFFIXES}, "_stream": stream}.items():
        if not isinstance(entry, dict):
            raise ValueError(f"{name}{key} is {shown(entry)}, expected an object")
    if (dtype := imported.get("index", {}).get("dtype", "<i8")) not in _INDEX_DTYPES:
        raise ValueError(f"{name}.index.dtype is {shown(dtype)}, expected one of {', '.join(_INDEX_DTYPES)}")
    return imported, stream


def _batches(source: TokenSource | np.ndarray) -> Iterator[np.ndarray]:
    """Yield codes (n, H, W) of all samples in order, some thousand at a time; those of a store from sound shards."""
    if isinstance(source, StoreReader):
        yield from source.iter_batches(sound=True)
    elif not isinstance(source, np.ndarray):
        yield from source.iter_batches()
    else:
        for start in range(0, len(source), BATCH_IMAGES):
            yield source[start : start + BATCH_IMAGES]


def _index_bytes(offsets: np.ndarray, dtype: str) -> bytes:
    """Return offsets as a `.npy` file of the given type, or of int64 if they do not fit into it."""
    wanted = np.dtype(dtype)
    return npy_bytes(offsets.astype(wanted if offsets[-1] <= np.iinfo(wanted).max else np.int64))
