"""`tools/test.py`: a trained classifier on image files, and the scores beside a moving average."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seitpp.engine.prediction_hook import use_prediction_hook
from seitpp.engine.publishing import publish
from seitpp.evaluation.predictions import read_predictions
from seitpp.images.decoding import MAX_PIXELS
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.io.config_file import read_config
from seitpp.storage import StoreReader

NAMES = ("ant", "bee", "cow")
TOKENIZER = 'tokenizer = dict(type="seitpp.PatchKMeans", image_size=32, patch_size=8, fit=dict(codebook_size=8))'
LEAF = """
_base_ = {bases}
model = dict(
    backbone=dict(codebook_size=8, arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        code_dim=8, grid_size=4),
    head=dict(num_classes=3, in_channels=16),
)
data_preprocessor = dict(codebook={store!r})
train_dataloader = dict(batch_size=5, dataset=dict(data_root="", store={store!r}))
val_dataloader = dict(batch_size=4, dataset=dict(data_root="", store={store!r}))
test_dataloader = val_dataloader
val_evaluator = [dict(type="mmpretrain.Accuracy", topk=(1,)), dict(type="seitpp.CrossEntropy")]
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(lr=1e-2))
auto_scale_lr = dict(enable=False)
train_cfg = dict(max_epochs=3, val_interval=1)
param_scheduler = dict(end=3, warmup=1)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1), logger=dict(interval=1))
"""
EMA = """
custom_hooks = [
    dict(type="mmpretrain.EMAHook", momentum=4e-5, evaluate_on_ema=True, evaluate_on_origin=True),
]
"""
BASES = (
    "models/mtm-classifier_vit-tiny-p2.py",
    "datasets/digits_tokens.py",
    "schedules/finetune_adamw_8xb128-100e.py",
    "default_runtime.py",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests share: `images/val/CLASS/*.png`, 21 of three classes, and what the fixtures below make of them."""
    folder = tmp_path_factory.mktemp("kept")
    colours = np.random.default_rng(0).integers(40, 215, size=(3, 1, 1, 3))
    for number in range(21):
        path = folder / "images" / "val" / NAMES[number % 3] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(-40, 41, size=(36, 40, 3))
        Image.fromarray((colours[number % 3] + noise).astype(np.uint8)).save(path)
    return folder


@pytest.fixture
def config(kept: Path, tool: Callable, repository: Path) -> Path:
    """A classifier on the store of the images; `ema.py` beside it is the same with a moving average."""
    if not (kept / "plain.py").exists():
        (kept / "tokenizer.py").write_text(TOKENIZER)
        line = [kept / "tokenizer.py", kept / "images", kept / "store", "--split", "val", "--workers", 0]
        assert tool("tokenize_images.py", *line) == 0
        bases = [str(repository / "configs" / "_base_" / name) for name in BASES]
        text = LEAF.format(bases=bases, store=str(kept / "store"))
        (kept / "ema.py").write_text(text + EMA)
        (kept / "plain.py").write_text(text)
    return kept / "plain.py"


@pytest.fixture
def trained(config: Path, kept: Path, tool: Callable) -> Path:
    """A checkpoint that the config with the moving average trained."""
    if not (kept / "ema").exists():
        tool("train.py", kept / "ema.py", "--work-dir", kept / "ema")
    return kept / "ema" / "epoch_3.pth"


@pytest.fixture
def score(tool: Callable, tmp_path: Path) -> Callable[..., dict]:
    """The metrics that `tools/test.py` writes."""

    def run(config: Path, checkpoint: Path, *options: object) -> dict:
        out = tmp_path / "score.json"
        assert tool("test.py", config, checkpoint, "--work-dir", tmp_path / "test", "--out", out, *options) == 0
        return json.loads(out.read_text())

    return run


def with_other_weights(checkpoint: Path, path: Path) -> Path:
    """The weights beside the average, as if they were the checkpoint's own."""
    content = load_checkpoint_file(checkpoint)
    average = content.pop("ema_state_dict")
    content["state_dict"] = {
        name.removeprefix("module."): value for name, value in average.items() if name.startswith("module.")
    }
    torch.save(content, path)
    return path


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("options", [[], ["--workers", 1, "--batch-size", 5]], ids=["default", "given"])
def test_images_are_scored_as_their_store(
    config: Path, trained: Path, kept: Path, score: Callable, options: list
) -> None:
    expected = score(config, trained)
    assert expected.keys() == {"accuracy/top1", "loss"}
    assert 0 < expected["accuracy/top1"] < 100
    options = options or ["--workers", 0]
    assert score(config, trained, "--images", kept / "images", "--split", "val", *options) == expected


def test_config_of_the_training_is_kept(trained: Path, kept: Path, tool: Callable) -> None:
    config = trained.with_name("ema.py")
    before = config.read_bytes()
    assert tool("test.py", config, trained, "--cfg-options", "test_dataloader.batch_size=5") == 0
    assert config.read_bytes() == before
    written = [path for path in trained.parent.glob("*/ema.py") if "batch_size=5" in path.read_text()]
    assert len(written) == 1


def test_scores_tell_which_files_are_no_images(
    config: Path, trained: Path, kept: Path, score: Callable, tmp_path: Path
) -> None:
    shutil.copytree(kept / "images" / "val", tmp_path / "val")
    (tmp_path / "val" / NAMES[0] / "scan.pdf").touch()
    found = score(config, trained, "--images", tmp_path / "val", "--workers", 0)
    assert found.pop("skipped_files") == {".pdf": 1}
    with pytest.raises(ValueError, match=r"pixels, more than the 9 allowed; raise max_pixels \(--max-pixels\)"):
        score(config, trained, "--images", tmp_path / "val", "--workers", 0, "--max-pixels", 9)
    assert found == score(config, trained)


def test_tokenizer_is_given(config: Path, trained: Path, kept: Path, score: Callable, tmp_path: Path) -> None:
    expected = score(config, trained)
    text = config.read_text().replace(f"data_root=\"\", store='{kept}/store'", 'data_root="", store="gone"')
    (tmp_path / "moved.py").write_text(text)
    images = ["--images", kept / "images" / "val", "--workers", 0]
    with pytest.raises(FileNotFoundError, match=r"the config's test store gone, .*pass --tokenizer"):
        score(tmp_path / "moved.py", trained, *images)
    assert score(tmp_path / "moved.py", trained, *images, "--tokenizer", kept / "store") == expected
    with pytest.raises(ValueError, match=r"tokenizer\.py is fitted to images"):
        score(tmp_path / "moved.py", trained, *images, "--tokenizer", kept / "tokenizer.py")


def test_classes_keep_their_numbers(config: Path, trained: Path, kept: Path, score: Callable, tmp_path: Path) -> None:
    """A folder of some classes is refused, and scored right with the names of all."""
    for name in NAMES[1:]:
        shutil.copytree(kept / "images" / "val" / name, tmp_path / "some" / name)
    line = ["--images", tmp_path / "some", "--workers", 0]
    with pytest.raises(ValueError, match=r"some does not have the classes of checkpoint .*: 1 missing \('ant'\)\."):
        score(config, trained, *line)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    found = score(config, trained, *line, "--classes", tmp_path / "names.txt")["accuracy/top1"]

    rows = [f"val/{path.parent.name}/{path.name}" for path in sorted((kept / "images").rglob("*.png"))]
    labels = [NAMES.index(row.split("/")[1]) for row in rows]
    lines = [f"{row} {label}" for row, label in zip(rows, labels, strict=True) if label]
    (tmp_path / "some.txt").write_text("\n".join(lines))
    line = ["--images", tmp_path / "some.txt", "--root", kept / "images", "--workers", 0]
    assert score(config, trained, *line)["accuracy/top1"] == found


def test_damaged_image_ends_the_test(config: Path, trained: Path, kept: Path, score: Callable, tmp_path: Path) -> None:
    shutil.copytree(kept / "images", tmp_path / "images")
    (tmp_path / "images" / "val" / "bee" / "01.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot read bee/01\.png: the file is empty\. Repair"):
        score(config, trained, "--images", tmp_path / "images", "--split", "val", "--workers", 0)


@pytest.mark.parametrize("option", ["--split", "--root", "--classes", "--tokenizer", "--workers", "--batch-size"])
def test_options_of_images_need_images(tool: Callable, capsys: pytest.CaptureFixture, option: str) -> None:
    with pytest.raises(SystemExit):
        tool("test.py", "config.py", "checkpoint.pth", option, 1)
    assert f"{option} means nothing without --images" in capsys.readouterr().err


@pytest.mark.parametrize("images", [False, True], ids=["store", "images"])
def test_scores_beside_the_average(
    config: Path, trained: Path, kept: Path, score: Callable, tmp_path: Path, images: bool
) -> None:
    options = ["--images", kept / "images" / "val", "--workers", 0] if images else []
    both = score(kept / "ema.py", trained, *options)
    (log,) = (tmp_path / "test").glob("*/*.log")
    assert f"accuracy/top1_origin: {both['accuracy/top1_origin']:.4f}" in log.read_text()
    assert both.keys() == {"accuracy/top1", "accuracy/top1_origin", "loss", "loss_origin"}
    assert both["accuracy/top1"] == score(config, trained)["accuracy/top1"]
    origin = with_other_weights(trained, tmp_path / "origin.pth")
    assert both["accuracy/top1_origin"] == score(config, origin)["accuracy/top1"]
    assert both["accuracy/top1"] != both["accuracy/top1_origin"]


def test_predictions_are_those_that_were_scored(
    config: Path, trained: Path, kept: Path, score: Callable, tmp_path: Path
) -> None:
    """Of the average, not of the weights beside it, which are tested after it; of a subset with its indices there."""
    scores = score(kept / "ema.py", trained, "--out-preds", tmp_path / "a.npz")
    found = read_predictions(tmp_path / "a.npz")
    assert found.evaluate([{"type": "Accuracy"}]) == {"accuracy/top1": scores["accuracy/top1"]}
    assert (list(found.classes), found.source["store"]) == (list(NAMES), str(kept / "store"))
    np.testing.assert_array_equal(found.labels, StoreReader(kept / "store").labels)
    options = ["--cfg-options", "test_dataloader.dataset.indices=[20,3,4]", "test_dataloader.batch_size=1"]
    score(config, trained, "--out-preds", tmp_path / "b.npz", *options)
    part = read_predictions(tmp_path / "b.npz")
    assert (part.indices.tolist(), part.store_indices.tolist()) == ([0, 1, 2], [20, 3, 4])
    np.testing.assert_allclose(part.scores, found.scores[[20, 3, 4]], rtol=1e-5)


def test_predictions_of_images_name_them(
    config: Path, trained: Path, kept: Path, score: Callable, tmp_path: Path
) -> None:
    score(config, trained, "--out-preds", tmp_path / "a.npz")
    score(
        config,
        trained,
        "--images",
        kept / "images",
        "--split",
        "val",
        "--workers",
        0,
        "--out-preds",
        tmp_path / "b.npz",
    )
    stored, found = (read_predictions(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert found.names[:2] == ["ant/00.png", "ant/03.png"]
    assert found.source == {"images": str(kept / "images"), "split": "val", "max_pixels": MAX_PIXELS}
    np.testing.assert_array_equal(found.labels, stored.labels)
    np.testing.assert_allclose(found.scores, stored.scores, rtol=1e-4)


def test_predictions_of_other_models_are_refused(repository: Path, tmp_path: Path) -> None:
    config = repository / "configs" / "mtm" / "mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"
    with pytest.raises(ValueError, match=r"digits-tokens\.py is the config of MTM; expected that of a classifier"):
        use_prediction_hook(read_config(config), tmp_path / "preds.npz")
    config = repository / "configs" / "segmentation" / "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"
    with pytest.raises(ValueError, match=r"scenes-tokens\.py is the config of a segmentor, .*--show-dir draws"):
        use_prediction_hook(read_config(config), tmp_path / "preds.npz")


def test_published_weights_score_as_the_checkpoint(trained: Path, kept: Path, score: Callable, tmp_path: Path) -> None:
    both = score(kept / "ema.py", trained)
    for weights, name in (("ema", "accuracy/top1"), ("raw", "accuracy/top1_origin")):
        path = publish(trained, tmp_path / f"{weights}.safetensors", weights).path
        assert score(kept / "ema.py", path)["accuracy/top1"] == both[name]


def test_resuming_keeps_the_average_bit_for_bit(
    config: Path, trained: Path, kept: Path, tool: Callable, assert_same_training: Callable, tmp_path: Path
) -> None:
    tool("train.py", kept / "ema.py", "--work-dir", tmp_path, "--resume", trained.with_name("epoch_1.pth"))
    assert not (tmp_path / "epoch_1.pth").exists()
    assert_same_training(trained, tmp_path / "epoch_3.pth")
    one, two = (load_checkpoint_file(path)["ema_state_dict"] for path in (trained, tmp_path / "epoch_3.pth"))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert one["steps"] == 12
    own = load_checkpoint_file(trained)["state_dict"]
    assert not torch.equal(own["head.fc.weight"], one["module.head.fc.weight"])


def test_checkpoint_of_an_average_must_fit(trained: Path, kept: Path, score: Callable, tmp_path: Path) -> None:
    content = load_checkpoint_file(trained)
    content["state_dict"]["head.fc.bias"] = torch.zeros(4)
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"wrong shapes: head\.fc\.bias \(4,\) where the model has \(3,\)"):
        score(kept / "ema.py", tmp_path / "other.pth")


def test_config_of_other_sizes_follows_the_checkpoint(
    trained: Path, kept: Path, score: Callable, tmp_path: Path
) -> None:
    sizes = "backbone=dict(arch=dict(embed_dims=32, num_layers=2)), head=dict(num_classes=4, in_channels=32)"
    text = f"_base_ = {str(kept / 'plain.py')!r}\nmodel = dict({sizes})\n"
    other, without = tmp_path / "other.py", tmp_path / "without.pth"
    other.write_text(text)
    assert score(other, trained) == score(kept / "plain.py", trained)
    content = load_checkpoint_file(trained)
    del content["meta"]["cfg"]
    torch.save(content, without)
    with pytest.raises(ValueError, match=r"wrong shapes: .* name the store that it was trained on with --store"):
        score(other, without)
    with pytest.raises(ValueError, match=r"wrong shapes: head.fc.weight \(3, 16\) where the model has \(4, 16\)"):
        score(other, trained, "--cfg-options", "model.head.num_classes=4")  # what is asked for stays


def test_config_in_a_checkpoint_is_not_run(trained: Path, kept: Path, score: Callable, tmp_path: Path) -> None:
    content, mark = load_checkpoint_file(trained), tmp_path / "mark"
    content["meta"]["cfg"] += f"\n_base_ = open({str(mark)!r}, 'w')\n__import__('os').mkdir({str(mark)!r})\n"
    torch.save(content, tmp_path / "hostile.pth")
    assert score(kept / "plain.py", tmp_path / "hostile.pth") == score(kept / "plain.py", trained)
    assert not mark.exists()


def test_recipe_trains_and_is_tested_on_a_store_of_ones_own(
    config: Path, kept: Path, tool: Callable, tmp_path: Path, repository: Path
) -> None:
    leaf = repository / "configs" / "seit" / "seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"
    store, short = kept / "store", ["train_cfg.max_epochs=1", "param_scheduler.end=1", "param_scheduler.warmup=0"]
    line = ["--work-dir", tmp_path, "--cfg-options", "train_dataloader.batch_size=5"]
    tool("train.py", leaf, "--store", store, "--val-store", store, *line, *short)
    tool("test.py", leaf, tmp_path / "epoch_1.pth", "--store", store, *line, "--out", tmp_path / "scores.json")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {"accuracy/top1", "accuracy/top1_origin"} <= set(scores)
    with pytest.raises(ValueError, match=r"--val-store .* alone: a config takes its sizes from"):
        tool("train.py", leaf, "--val-store", store)
