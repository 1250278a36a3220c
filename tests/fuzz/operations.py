"""What is made of files that were changed: copies, exports and runs that go on must not hide what was wrong."""

import io
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from subjects import Content, Subject, covers_everything, covers_nothing, read_store, tokens_fit

from seitpp.benchmarking.synthetic import make_codebook, make_images, make_release, make_store, make_tokens
from seitpp.converters import read_published
from seitpp.images.decoding import decode_image
from seitpp.ingest import Processes, TokenizeJob, make_plan, tokenize
from seitpp.ingest.output import OutputFolder
from seitpp.ingest.sources import open_image_source
from seitpp.storage import (
    SeitRelease,
    StoreReader,
    StoreWriter,
    copy_store,
    import_release,
    select_classes,
    store_stats,
    subset_store,
    write_release,
)
from seitpp.tokenizers import PatchKMeans, ViTVQGAN

SIZES: dict[str, Any] = dict(num_samples=7, grid=(4, 4), codebook_size=40, code_dim=3)


class _Stopped(BaseException):
    """Stands for the end of a process."""


def _made(make: Callable[[StoreReader, Path], object]) -> Callable[[Path], Content]:
    """Reads a store that is made of the changed one."""

    def read(folder: Path) -> Content:
        with tempfile.TemporaryDirectory(dir=folder.parent) as work:
            made = make(StoreReader(folder), Path(work, "made"))
            path = made.path if isinstance(made, StoreReader) else Path(work, "made")
            return _read_sound(path)

    return read


def _read_sound(path: Path) -> Content:
    """A store, and whether it can be verified, as all can be that were made of undamaged files."""
    return {**read_store(path), "sound": StoreReader(path).verify() == []}


def _derived(make: Callable[[StoreReader, Path], object], **options: Any) -> Subject:
    return Subject(lambda folder: make_store(folder, **{**SIZES, **options}), _made(make), check=tokens_fit)


def _writer(folder: Path, resume: bool = False) -> StoreWriter:
    return StoreWriter(
        folder,
        codebook_size=40,
        grid=(4, 4),
        tokenizer={"name": "synthetic"},
        codebook=make_codebook(40, 3),
        label_kind="class",
        classes=[f"class-{number}" for number in range(4)],
        shard_bytes=110,
        resume=resume,
    )


def _make_shards(folder: Path, count: int = 7, close: bool = True) -> None:
    """A store of several shards; left open, it lacks its last samples."""
    tokens, labels = make_tokens(7, (4, 4), 40, 4)
    writer = _writer(folder)
    with suppress(_Stopped), writer:
        for number in range(count):
            writer.append(tokens[number : number + 1], labels[number : number + 1])
        if not close:
            raise _Stopped


def _resume_writer(folder: Path) -> Content:
    """Finish a store that its writer left; then it has to be the one that was not interrupted."""
    tokens, labels = make_tokens(7, (4, 4), 40, 4)
    with _writer(folder, resume=True) as writer:
        start = writer.num_samples
        writer.append(tokens[start:], labels[start:])
    return _read_sound(folder)


def _export(folder: Path) -> Content:
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        files = write_release(StoreReader(folder), Path(work, "toy-train"))
        release = SeitRelease(files[0].path, grid=(4, 4), codebook_size=40)
        facts = {"minimum": 0, "codebook_size": 40, "classes": 4}
        return {"tokens": release.read_all(), "labels": release.labels, **facts}


def _make_release(folder: Path) -> None:
    make_release(folder / "toy-train", num_samples=5, grid=(4, 4), codebook_size=300, code_dim=3)


def _import(folder: Path) -> Content:
    release = SeitRelease(folder / "toy-train-token.data.bin.gz", grid=(4, 4), codebook_size=300)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        import_release(release, Path(work, "made"))
        return read_store(Path(work, "made"))


def _statistics(folder: Path) -> Content:
    reader = StoreReader(folder)
    if problems := reader.verify():
        raise ValueError(f"{folder}: {problems[0]}")
    store_stats(reader)
    return read_store(folder)


def _job(folder: Path) -> TokenizeJob:
    images = folder.parent / "images"
    if not images.exists():
        for name in ("ant", "bee"):
            make_images(images / name, 4, size=16, seed=len(name))
    tokenizer = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "codebook": make_codebook(8, 192)}
    source = {"path": str(images), "split": None}
    return TokenizeJob(tokenizer, source, str(folder), batch_size=2, samples_per_shard=2, save_seconds=0.0)


def _make_run(folder: Path) -> None:
    """What a run leaves that was stopped after some of its shards."""
    done = 0

    def progress(_done: int, _total: int) -> None:
        nonlocal done
        done += 1
        if done == 3:
            raise _Stopped

    with suppress(_Stopped):
        _tokenize(folder, progress)


def _tokenize(folder: Path, progress: Callable[[int, int], None] = lambda _done, _total: None) -> None:
    processes = Processes()
    try:
        tokenize(make_plan(_job(folder), processes), processes, progress, warn=lambda _line: None)
    finally:
        OutputFolder(str(folder)).unlock()  # as the end of a process does


def _resume_run(folder: Path) -> Content:
    _tokenize(folder)
    return _read_sound(folder)


def _image(name: str, covered: bool = False, **options: Any) -> Subject:
    pixels = np.kron(np.random.default_rng(0).integers(256, size=(6, 5, 3), dtype=np.uint8), np.ones((4, 4, 1), "u1"))

    def read(folder: Path) -> Content:
        path = folder / f"a.{name}"
        source = open_image_source(str(folder), unlabelled=True)
        source.read(0)
        try:
            return {"pixels": np.asarray(decode_image(path.read_bytes()))}
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    return Subject(
        lambda folder: Image.fromarray(pixels).save(folder / f"a.{name}", **options),
        read,
        covers_everything if covered else covers_nothing,
    )


def _make_tar(folder: Path) -> None:
    make_images(folder.parent / "tarred", 3, size=12)
    with tarfile.open(folder / "images.tar", "w") as archive:
        for number, path in enumerate(sorted((folder.parent / "tarred").iterdir())):
            for name, content in ((f"{number}.png", path.read_bytes()), (f"{number}.cls", str(number).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def _read_tar(folder: Path) -> Content:
    source = open_image_source(str(folder / "images.tar"))
    labels = None if source.labels is None else list(map(int, source.labels))
    return {"images": [source.read(index) for index in range(len(source))], "labels": labels, "names": source.names}


def _make_module(folder: Path) -> None:
    torch.manual_seed(0)
    stack = dict(dims=16, depth=1, num_heads=2, head_dims=8, mlp_dims=16)
    arch = dict(encoder=stack, decoder=stack)
    torch.save(ViTVQGAN(arch, 16, code_dim=4, image_size=8, tile_size=8, patch_size=4), folder / "module.ckpt")


def _read_module(folder: Path) -> Content:
    return {name: value.numpy() for name, value in read_published(folder / "module.ckpt").items()}


def _kmeans(folder: Path) -> Content:
    return {"codebook": PatchKMeans(4, 1, codebook=folder / "codebook.npy").codebook.numpy()}


OPERATIONS: dict[str, Subject] = {
    "copied": _derived(copy_store, codec="raw"),
    "copied, frames": _derived(copy_store, codec="zstd"),
    "copied, shards": Subject(_make_shards, _made(copy_store), check=tokens_fit),
    "cut down": _derived(lambda reader, path: subset_store(reader, path, np.unique(reader.read_all()))),
    "classes taken": _derived(lambda reader, path: select_classes(reader, path, ["class-0", "class-2"])),
    "exported": Subject(lambda folder: make_store(folder, **SIZES), _export, check=tokens_fit),
    "imported": Subject(_make_release, _import, covers_nothing, tokens_fit),
    "measured": Subject(_make_shards, _statistics, check=tokens_fit),
    "written on": Subject(lambda folder: _make_shards(folder, 5, close=False), _resume_writer, check=tokens_fit),
    "tokenised on": Subject(_make_run, _resume_run, check=tokens_fit),
    "image, PNG": _image("png", covered=True),
    "image, JPEG": _image("jpg", quality=95),
    "image, WebP": _image("webp", lossless=True),
    "image, TIFF": _image("tiff"),
    "image, GIF": _image("gif"),
    "image, BMP": _image("bmp"),
    "tar of images": Subject(_make_tar, _read_tar, covers_nothing),
    "pickled module": Subject(_make_module, _read_module),
    "k-means": Subject(lambda folder: np.save(folder / "codebook.npy", make_codebook(6, 3)), _kmeans, covers_nothing),
}
