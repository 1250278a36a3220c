"""Segmentors as one file: the label maps of the inferencer, sizes of logits, metadata, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from helpers.classifier import make_trained_classifier
from helpers.segmentor import NAMES, make_trained_segmentor
from seitpp.apis import TokenSegInferencer, load_segmentor
from seitpp.benchmarking.synthetic import make_images
from seitpp.export.export import Exporter, export_model
from seitpp.export.formats import WRITERS
from seitpp.export.graphs import ImagesToLogits, TokensToMaps
from seitpp.storage import StoreReader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_segmentor(tmp_path_factory.mktemp("segmentor"))


@pytest.fixture(scope="module")
def pictures(folder: Path) -> Path:
    """Images of the tokenizer's size, which need no resizing."""
    return make_images(folder / "exact", 3, 32, seed=7)


@pytest.fixture(scope="module")
def infer(folder: Path) -> TokenSegInferencer:
    store = folder / "data/scenes-tokens/val"
    return TokenSegInferencer(folder / "config.py", folder / "model.pth", "cpu", tokenizer=store)


def label_maps(infer: TokenSegInferencer, pictures: Path) -> np.ndarray:
    return np.stack([result["pred_sem_seg"] for result in infer(pictures)])


def batch_of(pictures: Path) -> torch.Tensor:
    arrays = [np.asarray(Image.open(path)) for path in sorted(pictures.iterdir())]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255


def test_label_maps_of_what_is_traced_are_the_inferencer_s(infer: TokenSegInferencer, pictures: Path) -> None:
    module = ImagesToLogits(infer.tokenizer, TokensToMaps(infer.model, (32, 32)))
    with torch.no_grad():
        logits, tokens = module(batch_of(pictures))
    assert logits.shape == (3, 5, 32, 32) and tokens.shape == (3, 16, 16)
    assert np.array_equal(logits.argmax(dim=1), label_maps(infer, pictures))


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_label_maps_of_the_file_are_the_inferencer_s(
    folder: Path, infer: TokenSegInferencer, pictures: Path, tmp_path: Path, format: str
) -> None:
    options = dict(tokenizer=folder / "data/scenes-tokens/val", formats=[format])
    (parity,) = export_model(folder / "config.py", folder / "model.pth", tmp_path / "out", **options)
    assert parity.batch_sizes == (1, 3, 3) and parity.token_agreement == 1 and parity.logits_difference < 1e-4
    logits, tokens = WRITERS[format][1](parity.path, "images")(batch_of(pictures))
    assert logits.shape == (3, 5, 32, 32) and tokens.shape == (3, 16, 16)
    assert (logits.argmax(dim=1).numpy() == label_maps(infer, pictures)).mean() > 0.999
    described = json.loads((tmp_path / "out.json").read_text())
    assert (described["task"], described["classes"], described["logits_size"]) == ("segmentation", NAMES, [32, 32])
    assert described["palette"] == [[number, 0, 0] for number in range(5)]


@pytest.mark.parametrize(("size", "expected"), [(None, (32, 32)), ((48, 40), (48, 40))])
def test_logits_of_tokens_have_the_head_s_or_the_wanted_size(
    folder: Path, size: tuple[int, int] | None, expected: tuple[int, int]
) -> None:
    model = load_segmentor(folder / "config.py", folder / "model.pth")
    tokens = torch.from_numpy(StoreReader(folder / "data/scenes-tokens/val").read([0, 2])).long()
    with torch.no_grad():
        logits = TokensToMaps(model, size)(tokens)
    assert logits.shape[-2:] == expected
    exporter = Exporter(model, None, (16, 16), logits_size=size)
    assert exporter.metadata()["logits_size"] == list(expected)


def test_what_no_file_computes_is_refused(folder: Path, tmp_path: Path) -> None:
    config = Config.fromfile(folder / "config.py")
    config.model.test_cfg = dict(mode="slide", crop_size=8, stride=4)
    with pytest.raises(ValueError, match="asks for sliding windows or for the mirrored image, too, and a file"):
        export_model(config, folder / "model.pth", tmp_path / "out", compare_grids=False)
    with pytest.raises(ValueError, match=r"logits_size is \(0, 4\), expected a height and a width in pixels, or 0 0"):
        export_model(folder / "config.py", folder / "model.pth", tmp_path / "out", logits_size=(0, 4))
    trained = make_trained_classifier(tmp_path / "classifier")
    with pytest.raises(ValueError, match=r"logits_size is .* but a classifier's logits have no size"):
        export_model(trained.config, trained.checkpoint, tmp_path / "out", logits_size=(4, 4))
    with pytest.raises(ValueError, match="is the config of MTM; expected that of a classifier"):
        export_model("mtm_vitb", trained.checkpoint, tmp_path / "out")
