"""A release into a store and back: import keeps what an export needs to give the same files, byte for byte."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seitpp.io.files import written_whole
from seitpp.io.untrusted import shown
from seitpp.storage import format as store_format
from seitpp.storage.gzip_files import GzipWriter, check_gzip_facts
from seitpp.storage.reader import StoreReader
from seitpp.storage.release_bytes import MAX_RELEASE_CODES, encode_release_bytes
from seitpp.storage.seit_release import BATCH_IMAGES, FACTS_FORMAT, SUFFIXES, SeitRelease
from seitpp.storage.source import TokenSource
from seitpp.storage.synonyms import SynonymTable, dump_synonyms
from seitpp.storage.writer import DEFAULT_SHARD_BYTES, StoreWriter

# What the offsets of a release may be stored in.
_INDEX_DTYPES = ("|i1", "|u1", *(f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8)))


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
        synonyms: Similar codes for each code, best first; a table from `load_synonyms` is exported as the same file.
        codec: Codec of the store.
        shard_bytes: Size that a shard should not exceed.
        resume: Continue an interrupted import of the same files.
        progress: Called with samples done and their total.

    Raises:
        FileExistsError: `out` is not empty, and `resume` is not set.
        ValueError: The files are damaged or contradict the codebook, or the store in `out` was begun with other
            settings or from other files.
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
        source={"release": {**release.source_facts(), **_synonyms_facts(synonyms)}},
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
        same_file: Whether it equals, byte for byte, the file that was imported; None if no such file was imported.
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
    if not isinstance(source, np.ndarray) and (source.channels is not None or source.minimum):
        raise ValueError(
            f"samples have shape {source.sample_shape} and values from {source.minimum}; a release holds plain codes "
            "(H, W) from 0, so this store cannot be exported as one"
        )
    facts, stream_facts = _release_facts(source)
    labels = labels if isinstance(source, np.ndarray) else source.labels
    if labels is not None and len(labels) != len(source):
        raise ValueError(f"{len(labels)} labels were given for {len(source)} samples")
    paths = {key: Path(f"{prefix}{suffix}") for key, suffix in SUFFIXES.items()}
    if present := [path for path in paths.values() if path.exists()]:
        raise FileExistsError(f"{present[0]} exists already")
    with ExitStack() as files:  # none appears under its name before all are written, and the source was found sound

        def aside(key: str) -> Path:
            return files.enter_context(written_whole(paths[key]))

        exported, offsets = [], np.zeros(len(source) + 1, np.int64)
        with GzipWriter(aside("data"), facts.get("data", {})) as file:
            _write_stream(file, source, offsets, progress)
        exported.append(_compared(paths["data"], file, facts.get("data", {}), stream_facts.get("sha256")))
        index_facts = facts.get("index", {})
        with GzipWriter(aside("index"), index_facts) as file:
            file.write(_index_bytes(offsets, index_facts.get("dtype", "<i8")))
        exported.append(_compared(paths["index"], file, index_facts, index_facts.get("content_sha256")))
        if labels is not None:
            content = "\n".join(map(str, labels.tolist())) + "\n"
            content = content if facts.get("labels", {}).get("trailing_newline", True) else content[:-1]
            aside("labels").write_bytes(content.encode("ascii"))
            exported.append(_plain(paths["labels"], content.encode("ascii"), facts.get("labels", {}).get("sha256")))
        if isinstance(source, StoreReader) and source.synonyms is not None:
            content = dump_synonyms(source.synonyms)
            aside("synonyms").write_bytes(content)
            exported.append(_plain(paths["synonyms"], content, facts.get("synonyms", {}).get("sha256")))
    return exported


def _write_stream(
    file: GzipWriter, source: TokenSource | np.ndarray, offsets: np.ndarray, progress: store_format.Progress | None
) -> None:
    """Write the bytes of all images, and into `offsets` (N + 1,) where each starts, and the end."""
    done = 0
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


def _compared(path: Path, file: GzipWriter, facts: dict[str, Any], content_sha256: str | None) -> ExportedFile:
    """The finished file, compared with what was imported."""
    return ExportedFile(
        path,
        file.num_bytes,
        None if facts.get("sha256") is None else file.file_sha256 == facts["sha256"],
        None if content_sha256 is None else file.content_sha256 == content_sha256,
    )


def _plain(path: Path, content: bytes, sha256: str | None) -> ExportedFile:
    """An uncompressed file, compared with the imported one, whose hash is `sha256`."""
    same = None if sha256 is None else store_format.sha256_hex(content) == sha256
    return ExportedFile(path, len(content), same, same)


def _synonyms_facts(synonyms: dict[int, list[int]] | None) -> dict[str, Any]:
    """What `source` keeps about an imported synonyms file; empty if the table did not come from a file."""
    if not isinstance(synonyms, SynonymTable):
        return {}
    content = dump_synonyms(synonyms)
    return {"synonyms": {"num_bytes": len(content), "sha256": store_format.sha256_hex(content)}}


def _release_facts(source: TokenSource | np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an import recorded about files and stream; empty dicts for tokens that came from elsewhere."""
    if isinstance(source, SeitRelease):
        return source.source_facts(), {}
    if not isinstance(source, StoreReader):
        return {}, {}
    provenance = source.header["source"]
    facts = provenance.get("release")
    if not isinstance(facts, dict) or facts.get("format") != FACTS_FORMAT:
        return {}, {}
    name = f"{source.path / store_format.HEADER_FILE}: source.release"
    for key in ("data", "index"):
        check_gzip_facts(facts.get(key), f"{name}.{key}")
    stream = provenance.get("release_stream", {})
    for key, entry in {**{key: facts.get(key, {}) for key in SUFFIXES}, "release_stream": stream}.items():
        if not isinstance(entry, dict):
            raise ValueError(f"{name}, {key} is {shown(entry)}, expected an object")
    if (dtype := facts.get("index", {}).get("dtype", "<i8")) not in _INDEX_DTYPES:
        raise ValueError(f"{name}.index.dtype is {shown(dtype)}, expected one of {', '.join(_INDEX_DTYPES)}")
    return facts, stream


def _batches(source: TokenSource | np.ndarray) -> Iterator[np.ndarray]:
    """Codes (n, H, W) of all samples in order, some thousand at a time; those of a store from sound shards alone."""
    if isinstance(source, StoreReader):
        yield from source.iter_batches(sound=True)
    elif not isinstance(source, np.ndarray):
        yield from source.iter_batches()
    else:
        for start in range(0, len(source), BATCH_IMAGES):
            yield source[start : start + BATCH_IMAGES]


def _index_bytes(offsets: np.ndarray, dtype: str) -> bytes:
    """Offsets as a `.npy` file of the given type, or of int64 if they do not fit into it."""
    wanted = np.dtype(dtype)
    stored = offsets.astype(wanted if offsets[-1] <= np.iinfo(wanted).max else np.int64)
    file = io.BytesIO()
    np.save(file, stored, allow_pickle=False)
    return file.getvalue()
