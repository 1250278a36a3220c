"""A run of tokenising says what it is at, from its first second on."""

import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
import torch

from seitpp.ingest.sources import files, open_image_source
from seitpp.io import progress
from seitpp.tokenizers import PatchKMeans

FITTED = {"type": "seitpp.PatchKMeans", "image_size": 16, "patch_size": 8, "fit": {"codebook_size": 8, "num_images": 6}}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int | None]]:
    """What is told of each work: its name, and how much is done of which total."""
    calls: list[tuple[str, int, int | None]] = []

    class Recorded(progress._Lines):
        def __enter__(self) -> "Recorded":
            calls.append((self._description, 0, None))
            return super().__enter__()

        def advance(self, done: int, total: int | None) -> None:
            calls.append((self._description, done, total))

    monkeypatch.setattr(progress, "_Lines", Recorded)
    return calls


def test_every_stage_of_a_run_is_told(
    told: list, tmp_path: Path, class_folder: Callable, make_job: Callable, run_job: Callable
) -> None:
    root = class_folder(tmp_path / "images")
    run_job(make_job(root, tmp_path / "store", tokenizer=FITTED))
    assert list(dict.fromkeys(name for name, *_ in told)) == [
        f"opening {root}",
        f"listing {root}",
        "loading the tokenizer",
        "reading images to fit the tokenizer to",
        "fitting the tokenizer",
        "k-means of 24 patches, at most",
        "checking what an earlier run wrote",
        "counting codes",
        "reading 8 images again, to compare",
        "encoding 8 images again, to compare",
        "decoding for the PSNR",
    ]
    assert ("reading images to fit the tokenizer to", 6, 6) in told and ("decoding for the PSNR", 8, 8) in told


def test_slow_listing_says_so_before_it_ends(
    tmp_path: Path, class_folder: Callable, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    root, printed = class_folder(tmp_path / "images"), ""

    def slow(folder: str, advance: Callable) -> list[str]:
        nonlocal printed
        deadline = time.monotonic() + 10
        while not printed and time.monotonic() < deadline:
            time.sleep(0.005)
            printed = capsys.readouterr().err
        return ["ant/0.png", "bee/0.png"]

    monkeypatch.setattr(progress, "_PAUSES", (0.01, 60.0))
    monkeypatch.setattr(files, "_walk", slow)
    open_image_source(str(root))
    assert printed.startswith(f"listing {root}: ")


def test_slow_listing_of_a_url_says_so_before_it_ends(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    memory.pipe({"/images/ant/0.png": b"", "/images/bee/0.png": b""})
    find, printed = memory.find, ""

    def slow(path: str) -> list[str]:
        nonlocal printed
        deadline = time.monotonic() + 10
        while not printed and time.monotonic() < deadline:
            time.sleep(0.005)
            printed = capsys.readouterr().err
        return find(path)

    monkeypatch.setattr(progress, "_PAUSES", (0.01, 60.0))
    monkeypatch.setattr(type(memory), "find", lambda self, path: slow(path))
    open_image_source("memory://images")
    assert printed.startswith("listing memory://images: 0:00:00 so far")


def test_files_are_counted_while_a_folder_is_listed(
    told: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_TOLD", 2)
    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    files.list_files(str(tmp_path))
    assert [done for _, done, _ in told] == [0, 2, 4]


def test_rounds_of_kmeans_are_told_and_not_printed(told: list, capsys: pytest.CaptureFixture) -> None:
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    PatchKMeans(16, 4).fit(images, codebook_size=8)
    rounds = [(done, total) for _, done, total in told if total is not None]
    assert len(rounds) > 2 and rounds == [(number, 300) for number in range(1, len(rounds) + 1)]
    assert not capsys.readouterr().out
