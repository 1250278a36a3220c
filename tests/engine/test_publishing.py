"""A checkpoint cut down for others: which weights, what is kept beside them, its name, and what is refused."""

import hashlib
from pathlib import Path

import pytest
import torch

from helpers.classifier import TrainedClassifier, make_trained_classifier
from helpers.tools import tool_main
from seitpp.apis.loading import load_classifier
from seitpp.engine.publishing import publish
from seitpp.io.checkpoint import load_checkpoint_file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return make_trained_classifier(tmp_path_factory.mktemp("trained"), num_images=2)


@pytest.fixture(scope="module")
def checkpoint(trained: TrainedClassifier) -> Path:
    """A checkpoint as a run with a moving average leaves it; the raw weights are the average's and 1."""
    content = load_checkpoint_file(trained.checkpoint)
    average = content["state_dict"]
    raw = {f"module.{name}": value + value.is_floating_point() for name, value in average.items()}
    meta = {"cfg": "a = dict(b=1)\n", "epoch": 3, "iter": 12, "token_grid": {"stored": [5, 5], "kept": [4, 4]}}
    meta |= {"dataset_meta": {**content["meta"]["dataset_meta"], "tokenizer": {"type": "PatchKMeans"}}, "time": "now"}
    extra = {
        "optimizer": {"state": {}},
        "param_schedulers": [],
        "message_hub": {},
        "ema_state_dict": {"steps": torch.ones(1), **raw},
    }
    path = trained.checkpoint.with_name("epoch_3.pth")
    torch.save({"meta": meta, "state_dict": average, **extra}, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("weights", [None, "ema", "raw"])
def test_published_files_hold_one_set_of_weights_and_what_they_are_of(
    checkpoint: Path, trained: TrainedClassifier, tmp_path: Path, suffix: str, weights: str | None
) -> None:
    done = publish(checkpoint, tmp_path / f"model{suffix}", weights)
    digest = hashlib.sha256(done.path.read_bytes()).hexdigest()
    assert done.path.name == f"model-{digest[:8]}{suffix}" and done.sha256 == digest
    before, after = load_checkpoint_file(checkpoint), load_checkpoint_file(done.path)
    assert after.keys() == {"meta", "state_dict"}
    kept = ("cfg", "dataset_meta", "token_grid", "epoch", "iter")
    assert {key: after["meta"][key] for key in kept} == {key: before["meta"][key] for key in kept}
    assert (after["meta"]["weights"], "time" in after["meta"]) == (weights or "ema", False)
    average = before["state_dict"]
    raw = {name: before["ema_state_dict"][f"module.{name}"] for name in average}
    torch.testing.assert_close(after["state_dict"], raw if weights == "raw" else average, rtol=0, atol=0)
    if weights is None:
        model = load_classifier(trained.config, done.path)
        assert model._dataset_meta["classes"] == before["meta"]["dataset_meta"]["classes"]


def test_published_files_are_published_again_as_what_they_are(checkpoint: Path, tmp_path: Path) -> None:
    first = publish(checkpoint, tmp_path / "model.pth")
    second = publish(first.path, tmp_path / "again.safetensors")
    assert load_checkpoint_file(second.path)["meta"] == load_checkpoint_file(first.path)["meta"]
    with pytest.raises(ValueError, match="does not have weights beside the moving average; leave out --weights raw"):
        publish(first.path, tmp_path / "again.pth", "raw")


def test_what_cannot_be_published_is_refused(trained: TrainedClassifier, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not have a moving average; leave out --weights ema"):
        publish(trained.checkpoint, tmp_path / "model.pth", "ema")
    with pytest.raises(ValueError, match=r"model\.onnx ends in \.onnx, expected \.pth or \.safetensors"):
        publish(trained.checkpoint, tmp_path / "model.onnx")
    content = load_checkpoint_file(checkpoint)
    del content["ema_state_dict"]["module.head.fc.bias"]
    torch.save(content, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"its ema_state_dict lacks 1 weights, such as 'head\.fc\.bias'"):
        publish(tmp_path / "part.pth", tmp_path / "model.pth", "raw")
    content["state_dict"]["head.fc.bias"][0] = torch.nan
    torch.save(content, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match=r"NaN or infinite in head\.fc\.bias"):
        publish(tmp_path / "nan.pth", tmp_path / "model.pth")
    assert not list(tmp_path.glob("model*"))


def test_tool_says_what_it_kept_and_left_out(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert tool_main("model_converters/publish_model.py")([checkpoint, tmp_path / "model.pth"]) == 0
    printed = capsys.readouterr().out
    assert "the moving average" in printed and "classes: 6, ant, bee, cat, dog, eel and 1 more" in printed
    assert "left out: optimizer, param_schedulers, message_hub, ema_state_dict" in printed
