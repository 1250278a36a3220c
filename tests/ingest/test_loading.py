"""Loading of images in worker processes: order, failures as data, and what depends on the start method."""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seitpp.ingest import open_image_source
from seitpp.ingest.loading import Fitting, ImageBatches, load_batches
from seitpp.ingest.sources import ImageSource

FITTING = Fitting(image_size=(16, 16), resize_mode="exact", in_channels=3, stride=8)


@pytest.fixture
def mixed(image: Callable, tmp_path: Path) -> ImageSource:
    """Four images, of which the second is no image and the third too small, and a missing one."""
    image(tmp_path / "0.png", size=(16, 16))
    (tmp_path / "1.jpg").write_text("just a text")
    image(tmp_path / "2.png", size=(20, 7))
    image(tmp_path / "3.png", size=(40, 20))
    (tmp_path / "list.txt").write_text("0.png\n1.jpg\n2.png\n3.png\n4.png\n.\n")
    return open_image_source(tmp_path / "list.txt")


def test_failures_are_data(mixed: ImageSource) -> None:
    batch = ImageBatches(mixed, FITTING).__getitems__(range(6))
    assert batch.readable.tolist() == [True, False, False, True, False, False]
    assert batch.failures == [
        (1, "1.jpg", "it is of no known image format, or its header is damaged"),
        (2, "2.png", "it has 20 x 7 pixels, less than one patch of 8 x 8"),
        (4, "4.png", "No such file or directory"),
        (5, ".", "Is a directory"),
    ]
    assert batch.pixels.shape == (6, 3, 16, 16) and batch.pixels.dtype == torch.uint8
    assert not batch.pixels[[1, 2, 4, 5]].any() and batch.label_maps == []
    np.testing.assert_array_equal(batch.num_bytes > 0, batch.readable)


def test_pixels_are_those_of_the_file(mixed: ImageSource, tmp_path: Path) -> None:
    batch = ImageBatches(mixed, FITTING).__getitems__([0, 3])
    with Image.open(tmp_path / "0.png") as same, Image.open(tmp_path / "3.png") as larger:
        np.testing.assert_array_equal(batch.pixels[0], np.asarray(same).transpose(2, 0, 1))
        resized = larger.resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(batch.pixels[1], np.asarray(resized).transpose(2, 0, 1))
    assert batch.num_bytes.tolist() == [(tmp_path / name).stat().st_size for name in ("0.png", "3.png")]


def test_grey_tokenizers_get_one_channel(mixed: ImageSource) -> None:
    batch = ImageBatches(mixed, replace(FITTING, in_channels=1)).__getitems__([0])
    assert batch.pixels.shape == (1, 1, 16, 16)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_the_order_asked_for(mixed: ImageSource, workers: int) -> None:
    wanted = [[3], [0, 1], [2, 3, 0], range(2, 4)]
    found = list(load_batches(mixed, FITTING, wanted, workers))
    assert [len(batch.readable) for batch in found] == [1, 2, 3, 2]
    for numbers, batch in zip(wanted, found, strict=True):
        assert torch.equal(batch.pixels, ImageBatches(mixed, FITTING).__getitems__(numbers).pixels)


def test_no_batches_need_no_workers(mixed: ImageSource) -> None:
    assert list(load_batches(mixed, FITTING, [], 1)) == []


def test_label_maps_are_fitted_too(pair_folder: Callable, tmp_path: Path) -> None:
    source = open_image_source(pair_folder(tmp_path, 2), split="training")
    (tmp_path / "annotations" / "training" / "1.png").write_bytes(b"")
    batch = ImageBatches(source, replace(FITTING, label_size=(4, 4))).__getitems__([0, 1])
    assert batch.failures == [(1, "1.png", "its annotation: the file is empty")]
    assert batch.label_maps[0].startswith(b"\x89PNG") and batch.label_maps[1] is None
    assert not batch.pixels[1].any()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), ConnectionResetError("reset by peer"), TimeoutError()]
)
def test_outage_is_not_taken_for_an_unreadable_image(
    mixed: ImageSource, monkeypatch: pytest.MonkeyPatch, workers: int, error: OSError
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(mixed), "read", fail)
    with pytest.raises(OSError, match=r"0.png cannot be read at present: (Too many|reset by|Timeout).*to continue$"):
        list(load_batches(mixed, FITTING, [[0], [3]], workers))


def test_worker_that_dies_is_reported(mixed: ImageSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(mixed), "read", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(ChildProcessError, match="a process that decodes images died, perhaps for lack of memory; run"):
        list(load_batches(mixed, FITTING, [[0], [3]], 1))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_may_be_started_anew(
    class_folder: Callable, make_job: Callable, run_job: Callable, files_of: Callable, tmp_path: Path, method: str
) -> None:
    source = class_folder(tmp_path / "images", damaged=True)
    run_job(make_job(source, tmp_path / "here"))
    before = torch.multiprocessing.get_start_method()
    torch.multiprocessing.set_start_method(method, force=True)
    try:
        run_job(make_job(source, tmp_path / "elsewhere", num_workers=1))
    finally:
        torch.multiprocessing.set_start_method(before, force=True)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "elsewhere")
