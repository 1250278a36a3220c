"""Several splits in one run: one fit, one order of the classes, a store each."""

import os
import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from seitpp.ingest import Processes, TokenizeJob, clean, make_plans, make_report, tokenize
from seitpp.io.process_group import process_group_ended
from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers import PatchKMeans
from seitpp.tokenizers.from_config import build_tokenizer, read_tokenizer

FITTED = {
    "type": "seitpp.PatchKMeans",
    "image_size": 16,
    "patch_size": 8,
    "fit": {"codebook_size": 8, "num_images": 6, "seed": 0},
}


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, class_folder: Callable[..., Path]) -> Path:
    """Two splits, of which the second lacks the first's first class."""
    root = tmp_path_factory.mktemp("images")
    class_folder(root / "train", 4, ("ant", "bee", "wasp"))
    class_folder(root / "val", 3, ("bee", "wasp"))
    return root


def run(job: TokenizeJob, splits: list[str], processes: Processes | None = None, stop: int | None = None) -> None:
    """Do what the tool does; killed at the image `stop`, counted over all splits."""
    processes, seen = processes or Processes(), 0
    for plan in make_plans(job, splits, processes):
        before = seen

        def progress(done: int, total: int, before: int = before) -> None:
            nonlocal seen
            seen = before + done
            if stop is not None and seen >= stop:
                raise Killed

        totals = tokenize(plan, processes, progress, print)
        if totals is not None:
            make_report(plan, totals)
            clean(plan.job.out)


def run_rank(job: TokenizeJob, rank: int, port: str) -> None:
    """One of two processes."""
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), MASTER_ADDR="localhost", MASTER_PORT=port)
    with process_group_ended():
        run(job, ["train", "val"], Processes.join())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, images: Path, make_job: Callable[..., TokenizeJob]) -> Path:
    """The stores of both splits, from a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("both") / "out"
    run(make_job(images, out, tokenizer=FITTED), ["train", "val"])
    return out


def test_all_splits_have_the_codebook_that_was_fitted_to_the_first(
    both: Path, images: Path, tmp_path: Path, make_job: Callable, run_job: Callable, files_of: Callable
) -> None:
    run_job(make_job(images, tmp_path / "train", split="train", tokenizer=FITTED))
    assert files_of(both / "train") == files_of(tmp_path / "train")
    first, second = StoreReader(both / "train"), StoreReader(both / "val")
    assert (first.codebook == second.codebook).all() and len(first) == 12 and len(second) == 6


def test_store_as_tokenizer_gives_what_the_splits_in_one_run_have(
    both: Path, images: Path, tmp_path: Path, make_job: Callable, run_job: Callable, files_of: Callable
) -> None:
    names = tmp_path / "classes.txt"
    names.write_text("ant\nbee\nwasp\n")
    source = {"path": str(images), "split": "val", "classes_file": str(names)}
    job = make_job(images, tmp_path / "val", tokenizer=read_tokenizer(str(both / "train")))
    run_job(replace(job, source=source))
    assert files_of(tmp_path / "val") == files_of(both / "val")


@pytest.mark.parametrize("stop", [4, 14])
def test_killed_run_of_splits_gives_the_stores_of_an_undisturbed_one(
    both: Path,
    images: Path,
    tmp_path: Path,
    make_job: Callable,
    files_of: Callable,
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    job = make_job(images, tmp_path / "out", tokenizer=FITTED, save_seconds=0.0)
    with pytest.raises(Killed):
        run(job, ["train", "val"], stop=stop)
    monkeypatch.setattr(PatchKMeans, "fit", lambda *_, **__: pytest.fail("fitted twice"))
    run(job, ["train", "val"])
    assert files_of(tmp_path / "out") == files_of(both)


def test_two_processes_give_the_same_stores(
    both: Path, images: Path, tmp_path: Path, make_job: Callable, files_of: Callable
) -> None:
    job = make_job(images, tmp_path / "out", tokenizer=FITTED)
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
    children = [get_context("fork").Process(target=run_rank, args=(job, rank, port)) for rank in (0, 1)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0]
    assert files_of(tmp_path / "out") == files_of(both)


def test_labels_follow_the_classes_of_the_first_split(both: Path) -> None:
    second = StoreReader(both / "val")
    assert second.classes == ["ant", "bee", "wasp"] and second.labels.tolist() == [1, 1, 1, 2, 2, 2]


def test_classes_that_the_first_split_lacks_are_refused(images: Path, tmp_path: Path, make_job: Callable) -> None:
    job = make_job(images, tmp_path / "out", tokenizer=FITTED)
    with pytest.raises(ValueError, match=r"images\d* \(train\) has classes that the first split lacks: ant\. Remove"):
        make_plans(job, ["val", "train"], Processes())
    assert not (tmp_path / "out").exists()


def test_one_split_is_written_to_the_folder_itself(images: Path, tmp_path: Path, make_job: Callable) -> None:
    run(make_job(images, tmp_path / "out"), ["val"])
    assert len(StoreReader(tmp_path / "out")) == 6


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", "test"], r"test does not exist; --split test names a sub-folder of"),
        (["train", "train"], "--split names train twice"),
        (["train", "../val"], r"--split '\.\./val' cannot name a store"),
    ],
)
def test_wrong_splits_are_refused_before_anything_is_written(
    images: Path, tmp_path: Path, make_job: Callable, splits: list[str], message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make_plans(make_job(images, tmp_path / "out", tokenizer=FITTED), splits, Processes())
    assert not (tmp_path / "out").exists()


def test_several_splits_are_not_written_into_a_store(both: Path, images: Path, make_job: Callable) -> None:
    out = both / "train"
    with pytest.raises(FileExistsError, match=rf"{re.escape(str(out))} is a store itself, and several splits"):
        make_plans(make_job(images, out, tokenizer=FITTED), ["train", "val"], Processes())


def test_store_of_another_run_in_a_later_split_is_found_at_the_start(
    both: Path, images: Path, tmp_path: Path, make_job: Callable
) -> None:
    shutil.copytree(both / "val", tmp_path / "out" / "val")
    other = {**FITTED, "fit": {"codebook_size": 4, "num_images": 6, "seed": 0}}
    with pytest.raises(ValueError, match=r"out/val is the store of another run: its codebook_size is 8"):
        make_plans(make_job(images, tmp_path / "out", tokenizer=other), ["train", "val"], Processes())


def test_store_without_a_description_of_its_tokenizer_is_refused(tmp_path: Path) -> None:
    options: dict[str, Any] = dict(codebook_size=4, grid=(2, 2), tokenizer={"name": "vit-vqgan"})
    with StoreWriter(tmp_path / "imported", **options) as writer:
        writer.append([[[0, 1], [2, 3]]])
    message = r"imported was imported .*'vit-vqgan' and not how to build it; give the config of the tokenizer that did"
    with pytest.raises(ValueError, match=message):
        read_tokenizer(str(tmp_path / "imported"))
    with pytest.raises(ValueError, match="cannot be built again"):
        build_tokenizer(tmp_path / "imported")


def test_store_as_tokenizer_takes_no_options(both: Path) -> None:
    with pytest.raises(ValueError, match="is a token store, whose tokenizer has no options"):
        read_tokenizer(str(both / "train"), {"tokenizer.image_size": 32})
