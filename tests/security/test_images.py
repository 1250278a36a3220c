"""Images and label maps in PostScript, under any name: Pillow would start Ghostscript, and nothing here lets it."""

import io
import os
import runpy
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import EpsImagePlugin, Image

from helpers.classifier import TrainedClassifier
from seitpp.apis import TokenClassificationInferencer
from seitpp.benchmarking.synthetic import make_images, make_seg_store
from seitpp.images.decoding import decode_image
from seitpp.images.label_maps import label_map_path, read_label_map
from seitpp.ingest.sources import open_image_source
from seitpp.storage import StoreReader

TOKENIZER = 'tokenizer = dict(type="seitpp.PatchKMeans", image_size=10, patch_size=2, codebook={store!r})'


@pytest.fixture(autouse=True)
def ghostscript(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for Ghostscript, first on the PATH, which writes the marker."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "gs").write_text(f"#!/bin/sh\necho ran > '{marker}'\n")
    (folder / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # Pillow remembers whether there is one


@pytest.fixture
def images(payloads: ModuleType, tmp_path: Path) -> Path:
    """Class folders of good images, with PostScript among them under three names."""
    folder = tmp_path / "images"
    for name in ("ant", "bee"):
        make_images(folder / name, 2, size=12)
        for ending in ("jpg", "png", "bmp"):
            (folder / name / f"hostile.{ending}").write_bytes(payloads.POSTSCRIPT)
    return folder


@pytest.fixture
def config(trained: TrainedClassifier, tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.py"
    path.write_text(TOKENIZER.format(store=str(trained.store)))
    return path


def test_pillow_alone_starts_ghostscript(payloads: ModuleType, marker: Path) -> None:
    with pytest.raises(OSError), Image.open(io.BytesIO(payloads.POSTSCRIPT)) as image:
        image.load()
    assert marker.exists()


def test_images_are_refused(payloads: ModuleType, marker: Path) -> None:
    with pytest.raises(ValueError, match="no known image format"):
        decode_image(payloads.POSTSCRIPT)
    assert not marker.exists()


def test_label_maps_are_refused(payloads: ModuleType, marker: Path, tmp_path: Path) -> None:
    store = make_seg_store(tmp_path / "store", num_samples=2)
    path = label_map_path(store, 1)
    path.write_bytes(payloads.POSTSCRIPT)
    with pytest.raises(ValueError, match=r"00000001\.png"):
        read_label_map(path, path.read_bytes())
    assert any("00000001.png" in problem for problem in StoreReader(store).verify())
    assert not marker.exists()


def test_sources_of_images_read_none(payloads: ModuleType, images: Path, marker: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "images.tar", "w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(payloads.POSTSCRIPT)
        archive.addfile(info, io.BytesIO(payloads.POSTSCRIPT))
    (tmp_path / "list.txt").write_text("images/ant/hostile.jpg\nimages/bee/hostile.png\n")
    refused = 0
    for path in (images, tmp_path / "images.tar", tmp_path / "list.txt"):
        source = open_image_source(str(path), unlabelled=True)
        for index in range(len(source)):
            try:
                source.load(index, 3)
            except ValueError:
                refused += 1
    assert refused == 6 + 1 + 2
    assert not marker.exists()


def test_annotations_are_refused(payloads: ModuleType, marker: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "pictures", 1, size=12)
    (name,) = [path.stem for path in (tmp_path / "pictures").iterdir()]
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / f"{name}.png").write_bytes(payloads.POSTSCRIPT)
    source = open_image_source(str(tmp_path / "pictures"), annotations=str(tmp_path / "maps"))
    assert source.read_annotation(0) == payloads.POSTSCRIPT  # bytes, which the run that makes the store decodes
    assert not marker.exists()


def test_inferencers_refuse_them(trained: TrainedClassifier, images: Path, marker: Path) -> None:
    infer = TokenClassificationInferencer(trained.config, trained.checkpoint, "cpu", tokenizer=trained.store)
    with pytest.raises(ValueError, match=r"hostile\.jpg"):
        infer(images / "ant" / "hostile.jpg")
    assert not marker.exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_tokenizing_leaves_them_out(
    config: Path, images: Path, marker: Path, tmp_path: Path, tool: Callable, workers: int
) -> None:
    tool("tokenize_images.py", config, images, tmp_path / "store", "--workers", workers)
    assert len(StoreReader(tmp_path / "store")) == 4
    assert not marker.exists()


@pytest.mark.slow
def test_tokenizing_with_annotations_refuses_them(
    payloads: ModuleType, config: Path, marker: Path, tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture
) -> None:
    make_images(tmp_path / "pictures", 2, size=12)
    (tmp_path / "maps").mkdir()
    for path in (tmp_path / "pictures").iterdir():
        (tmp_path / "maps" / f"{path.stem}.png").write_bytes(payloads.POSTSCRIPT)
    main = runpy.run_path(str(repository / "tools" / "tokenize_images.py"))["main"]
    line = [config, tmp_path / "pictures", tmp_path / "store", "--annotations", tmp_path / "maps", "--workers", 0]
    try:
        status = main([str(part) for part in line])
    except (ValueError, SystemExit) as error:
        status = str(error)
    assert status, capsys.readouterr()
    assert not marker.exists()


@pytest.mark.slow
def test_scoring_on_images_leaves_them_out(
    trained: TrainedClassifier, images: Path, marker: Path, tmp_path: Path, repository: Path
) -> None:
    main = runpy.run_path(str(repository / "tools" / "image_demo.py"))["main"]
    line = [images / "ant", trained.config, "--checkpoint", trained.checkpoint, "--device", "cpu"]
    try:
        main([str(part) for part in [*line, "--tokenizer", trained.store]])
    except (ValueError, SystemExit) as error:
        assert "hostile" in str(error)
    assert not marker.exists()
