"""Features of images and tokens: what they are of each kind of model, and files of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from helpers.classifier import TrainedClassifier, make_trained_classifier
from helpers.tools import tool_main
from seitpp.apis import FeatureExtractor, load_classifier
from seitpp.apis.feature_file import write_features
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.storage import StoreReader


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return make_trained_classifier(tmp_path_factory.mktemp("kmeans"))


@pytest.fixture(scope="module")
def extract(trained: TrainedClassifier) -> FeatureExtractor:
    return FeatureExtractor(trained.config, trained.checkpoint, "cpu", tokenizer=trained.store)


def test_features_are_what_the_classifier_s_head_reads(trained: TrainedClassifier, extract: FeatureExtractor) -> None:
    model = load_classifier(trained.config, trained.checkpoint)
    codes = torch.from_numpy(StoreReader(trained.store).read_all())
    batch = model.data_preprocessor({"inputs": codes, "sample_idx": torch.arange(5)}, False)
    with torch.no_grad():
        (expected,) = model.backbone(batch["inputs"])
    features = extract(trained.store)
    assert not features.requires_grad and torch.equal(features, expected)
    for other in (extract(codes), extract(trained.images), FeatureExtractor(model)(trained.store)):
        assert torch.equal(other, expected)


def test_patches_have_the_mean_s_order_and_grid(trained: TrainedClassifier, extract: FeatureExtractor) -> None:
    """Without the norm, which does not commute with the mean."""
    norm = extract.model.backbone.ln2
    extract.model.backbone.ln2 = torch.nn.Identity()
    try:
        patches, mean = extract(trained.store, pool="patch"), extract(trained.store, pool="mean")
    finally:
        extract.model.backbone.ln2 = norm
    assert patches.shape == (5, 16, 2, 2)
    torch.testing.assert_close(patches.mean(dim=(2, 3)), mean)


@pytest.mark.parametrize(("out_type", "final_norm", "pool"), [("cls_token", True, "cls"), ("featmap", True, "patch")])
def test_other_poolings_are_those_of_a_network_that_ends_so(
    trained: TrainedClassifier, extract: FeatureExtractor, out_type: str, final_norm: bool, pool: str
) -> None:
    config = Config.fromfile(trained.config)
    config.model.backbone.update(out_type=out_type, final_norm=final_norm)
    other = FeatureExtractor(config, trained.checkpoint, "cpu")
    codes = torch.from_numpy(StoreReader(trained.store).read_all()).long()
    with torch.no_grad():
        (expected,) = other.model(
            other.model.data_preprocessor({"inputs": codes, "sample_idx": codes[:, 0, 0]})["inputs"]
        )
    assert torch.equal(extract(trained.store, pool=pool), expected)
    assert torch.equal(other(trained.store, pool=pool), expected)
    torch.testing.assert_close(other(trained.store, pool="mean"), extract(trained.store, pool="mean"))


def test_errors(trained: TrainedClassifier, extract: FeatureExtractor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pool is 'max', expected one of mean, cls, patch"):
        extract(trained.store, pool="max")
    with pytest.raises(ValueError, match="has the backbone NoneType and the data preprocessor NoneType; features are"):
        FeatureExtractor(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"config of a tokenizer; expected that of a classifier .* or MTM"):
        FeatureExtractor("block_dct_q50", trained.checkpoint)
    torch.save({"state_dict": {"encoder.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="has no key in common with the model"):
        FeatureExtractor(trained.config, tmp_path / "other.pth")
    content = load_checkpoint_file(trained.checkpoint)
    content["state_dict"]["backbone.layers.0.ln1.weight"] *= 1e30
    torch.save(content, tmp_path / "large.pth")
    with pytest.raises(ValueError, match="the features of sample 0 are NaN or infinite"):
        FeatureExtractor(trained.config, tmp_path / "large.pth", "cpu")(trained.store)


def test_file_of_a_store(
    trained: TrainedClassifier, extract: FeatureExtractor, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "new" / "features.npy"
    line = [trained.config, trained.checkpoint, trained.store, out, "--batch-size", 2, "--device", "cpu"]
    assert tool_main("analysis_tools/extract_features.py")([*line, "--pool", "none"]) == 0
    assert f"{out}: 5 x 16 x 2 x 2 float32, pool patch" in capsys.readouterr().out
    np.testing.assert_allclose(np.load(out), extract(trained.store, pool="patch"), rtol=1e-5, atol=1e-6)
    labels = StoreReader(trained.store).labels
    assert np.load(tmp_path / "new" / "features_labels.npy").tolist() == labels.tolist()
    assert (tmp_path / "new" / "features_names.txt").read_text().splitlines()[4] == f"{trained.store} 4"
    described = json.loads((tmp_path / "new" / "features.json").read_text())
    assert described["shape"] == [5, 16, 2, 2] and described["pool"] == "patch"


def test_file_of_folders_of_images(trained: TrainedClassifier, extract: FeatureExtractor, tmp_path: Path) -> None:
    files = sorted(trained.images.iterdir())
    for name, file in zip(("b/1.png", "a/x/1.png", "2.png"), files, strict=False):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "in" / name)
    found = write_features(extract, tmp_path / "in", tmp_path / "f.npy", dtype="float16")
    assert (found.shape, found.dtype, found.classes) == ([3, 16], "float16", ["a", "b"])
    assert np.load(found.labels).tolist() == [-1, 0, 1]
    assert Path(found.names).read_text().splitlines() == [
        f"{tmp_path}/in/{name}" for name in ("2.png", "a/x/1.png", "b/1.png")
    ]
    np.testing.assert_allclose(np.load(found.features)[2], extract(files[0])[0], atol=2e-3)
    with pytest.raises(ValueError, match=r"lies inside .*in, which is read"):
        write_features(extract, tmp_path / "in", tmp_path / "in" / "f.npy")
    with pytest.raises(ValueError, match=r"f\.pt does not end in \.npy"):
        write_features(extract, tmp_path / "in", tmp_path / "f.pt")


def test_no_file_is_left_of_features_that_fail(
    trained: TrainedClassifier, extract: FeatureExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract.model.backbone.ln2, "weight", torch.nn.Parameter(torch.full((16,), 1e6)))
    with pytest.raises(ValueError, match="the features of sample 0 are beyond the range of float16; write float32"):
        write_features(extract, trained.store, tmp_path / "f.npy", dtype="float16")
    assert list(tmp_path.iterdir()) == []
