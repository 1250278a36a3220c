"""Small images, runs over them in this process, and comparison of the folders that come out."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image

from seitpp.ingest import Plan, Processes, TokenizeJob, Totals, clean, commit, make_plan, make_report, tokenize
from seitpp.ingest.worker import ShardWorker

CODEBOOK = np.random.default_rng(0).random((16, 192), np.float32)


def write_image(path: Path, seed: int = 0, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Path:
    """An image of random pixels, of `size` (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def image() -> Callable[..., Path]:
    """Writes an image of random pixels."""
    return write_image


@pytest.fixture(scope="session")
def class_folder() -> Callable[..., Path]:
    """Writes class folders of random images, and one file that is none if `damaged` says so."""

    def write(root: Path, per_class: int = 4, classes: tuple[str, ...] = ("ant", "bee"), damaged: bool = False) -> Path:
        for label, name in enumerate(classes):
            for number in range(per_class):
                write_image(root / name / f"{number}.png", seed=100 * label + number)
        if damaged:
            (root / classes[0] / "1_damaged.png").write_text("no image")
        return root

    return write


@pytest.fixture(scope="session")
def pair_folder() -> Callable[..., Path]:
    """Writes images with label maps as ADE20k keeps them."""

    def write(root: Path, count: int = 4, split: str = "training") -> Path:
        for number in range(count):
            write_image(root / "images" / split / f"{number}.png", seed=number)
            write_image(root / "annotations" / split / f"{number}.png", seed=number, mode="L")
        return root

    return write


@pytest.fixture(scope="session")
def make_job() -> Callable[..., TokenizeJob]:
    """A run with 16 codes for patches of 8 x 8 pixels, 2 x 2 codes an image."""

    def make(source: object, out: object, *, split: str | None = None, **options: Any) -> TokenizeJob:
        tokenizer = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "codebook": CODEBOOK}
        job = TokenizeJob(tokenizer, {"path": str(source), "split": split}, str(out), batch_size=2, samples_per_shard=4)
        return replace(job, **options)

    return make


@pytest.fixture(scope="session")
def run_job() -> Callable[..., Totals | None]:
    """Does all that the tool does for a job, in this process; None if there was nothing to do."""

    def run(job: TokenizeJob, processes: Processes | None = None, warn: Callable[[str], None] = print) -> Totals | None:
        processes = processes or Processes()
        plan: Plan = make_plan(job, processes)
        totals = tokenize(plan, processes, lambda done, total: None, warn)
        if totals is not None:
            make_report(plan, totals)
            clean(job.out)
        return totals

    return run


@pytest.fixture(scope="session")
def put_aside() -> Callable[[TokenizeJob], list[Path]]:
    """Stops a run after six samples, and gives the files in which it has put their codes aside."""

    class Killed(Exception):
        pass

    def run(job: TokenizeJob) -> list[Path]:
        plan = make_plan(job, Processes())
        commit.begin(plan)
        seen: list[int] = []

        def stop_after_six(count: int) -> None:
            seen.append(count)
            if sum(seen) >= 6:
                raise Killed

        with pytest.raises(Killed):
            ShardWorker(plan).run(plan.shards, stop_after_six)
        return sorted((Path(job.out) / ".tokenize" / "partial").iterdir())

    return run


@pytest.fixture(scope="session")
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """Names and contents of all files below a folder; of folders too, so that empty ones show."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
            for path in sorted(folder.rglob("*"))
        }

    return read


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """An empty file system behind `memory://`."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
