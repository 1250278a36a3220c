"""`tools/test_robustness.py`: trees in each data set's layout, for classifiers of tokens and of pixels."""

import csv
import json
import runpy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from helpers.benchmark_trees import (
    OBJECTNET,
    class_folders,
    imagenet_c,
    imagenet_classes,
    imagenet_r,
    imagenet_sketch,
    objectnet,
)
from helpers.classifier import logits_of, make_trained_classifier, small_kmeans
from helpers.shrinking import build_model
from helpers.tools import TOOLS
from seitpp.images.decoding import pixels_of
from seitpp.images.resizing import fit_image
from seitpp.tokenizers.encoding import encode_pixels

STANDARD = "configs/_base_/evaluation/robustness_in1k.py"
TESTED = """
test_cfg = dict()
test_evaluator = dict(type="mmpretrain.Accuracy")
default_hooks = dict(checkpoint_guard=dict(type="seitpp.CheckpointGuardHook"))
"""
FEWER = """
robustness = dict(
    data_root={!r},
    benchmarks=dict(gaussian_noise=dict(severities=[1, 4]), gaussian_blur=dict(severities=[5])),
)
"""
TOKENS = "model = dict(head=dict(num_classes=1000))"
PIXELS = """
default_scope = "mmpretrain"
model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16),
        img_size=8,
        patch_size=4,
    ),
    head=dict(type="VisionTransformerClsHead", num_classes=1000, in_channels=16),
)
data_preprocessor = dict(num_classes=1000, mean=[128] * 3, std=[64] * 3, to_rgb=True)
pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=9, edge="short"),
    dict(type="CenterCrop", crop_size=8),
    dict(type="PackInputs"),
]
test_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(type="ImageNet", data_root="none", split="val", pipeline=pipeline)
)
"""


@dataclass(frozen=True)
class Made:
    """Classifiers of ImageNet's classes, and the data.

    Attributes:
        data: Folder of the benchmarks, as under `data/`.
        tokens: Config of a classifier of tokens.
        pixels: Config of a classifier of pixels.
        checkpoints: Of both, by the stem of the config.
    """

    data: Path
    tokens: Path
    pixels: Path
    checkpoints: dict[str, Path]


def save_random(config: Path, classes: list[str] | None) -> Path:
    """Save random weights of a config's classifier, whose scores differ between images."""
    torch.manual_seed(0)
    model = build_model(Config.fromfile(config))
    with torch.no_grad():
        for name, weight in model.head.named_parameters():
            weight.normal_() if name.endswith("weight") else weight.zero_()
    meta = {} if classes is None else {"dataset_meta": {"classes": classes}}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, config.with_suffix(".pth"))
    return config.with_suffix(".pth")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Made:
    folder = tmp_path_factory.mktemp("robustness")
    trained, names = make_trained_classifier(folder / "small"), imagenet_classes()
    data = folder / "data"
    class_folders(data / "imagenet" / "val", names[420:427], 2, 12)
    objectnet(data / "objectnet-1.0", per_class=4)
    (folder / "classes.txt").write_text("\n".join(names))
    for stem, bases, text in (("tokens", [trained.config], TOKENS), ("pixels", [], PIXELS)):
        bases = list(map(str, [*bases, repository / STANDARD]))
        text = f"_base_ = {bases}\n{text}{TESTED}{FEWER.format(str(data))}"
        (folder / f"{stem}.py").write_text(text)
    configs = {stem: folder / f"{stem}.py" for stem in ("tokens", "pixels")}
    checkpoints = {stem: save_random(config, names if stem == "tokens" else None) for stem, config in configs.items()}
    return Made(data, configs["tokens"], configs["pixels"], checkpoints)


@pytest.fixture
def table(tool: Callable, made: Made, tmp_path: Path) -> Callable[..., dict[tuple[str, str], dict]]:
    """Runs the tool; returns the rows of its table by benchmark and severity."""

    def run(stem: str, *options: object, checkpoint: Path | None = None) -> dict[tuple[str, str], dict]:
        if stem == "pixels":
            options = ("--classes", made.data.parent / "classes.txt", *options)
        options = ("--workers", 0, "--work-dir", tmp_path / "work", "--out-dir", tmp_path / "out", *options)
        config = made.data.parent / f"{stem}.py"
        assert tool("test_robustness.py", config, checkpoint or made.checkpoints[stem], *options) == 0
        return rows_of(Path(options[len(options) - options[::-1].index("--out-dir")]))

    return run


def rows_of(folder: Path) -> dict[tuple[str, str], dict]:
    """The rows of a table by benchmark and severity."""
    with (folder / "robustness.csv").open() as file:
        return {(row["benchmark"], row["severity"]): row for row in csv.DictReader(file)}


def scores_of(folder: Path, name: str) -> dict[str, float]:
    """The scores of a pass by weights."""
    return json.loads((folder / "results.json").read_text())["passes"][name]["scores"][name]


@pytest.mark.parametrize("stem", ["tokens", "pixels"])
def test_table_has_a_row_per_benchmark(
    stem: str, table: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = table(stem)
    noise = [float(rows["gaussian_noise", severity]["top1"]) for severity in ("", "1", "4")]
    assert noise[0] == pytest.approx((noise[1] + noise[2]) / 2, abs=1e-3)
    clean, objects, renditions = rows["clean", ""], rows["objectnet", ""], rows["imagenet_r", ""]
    assert (clean["images"], objects["images"], objects["images_expected"]) == ("14", "12", "18574")
    assert objects["clean_images"] == "2"  # of the one class that both have
    assert objects["SeiT (paper)"] == "15.7"
    assert renditions["top1"] == "not run"
    assert "data/imagenet-r does not exist" in renditions["convention"]
    settings = json.loads((tmp_path / "out" / "results.json").read_text())["passes"]["gaussian_noise/4"]["settings"]
    assert settings["corruption"] == {"kind": "gaussian_noise", "severity": 4, "seed": 0, "order": "input"}
    assert "12 (expected 18,574)" in capsys.readouterr().out


def test_a_trainings_folder_is_left_as_it_is(tool: Callable, made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "training"
    config = Config.fromfile(made.tokens)
    config.work_dir = str(folder)
    folder.mkdir()
    config.dump(folder / "tokens.py")
    before = (folder / "tokens.py").read_bytes()
    options = ["--only", "clean", "--out-dir", tmp_path / "out"]
    assert tool("test_robustness.py", folder / "tokens.py", made.checkpoints["tokens"], *options) == 0
    assert (folder / "tokens.py").read_bytes() == before and [*folder.iterdir()] == [folder / "tokens.py"]


def test_objectnet_is_scored_by_its_rule(table: Callable, made: Made) -> None:
    """By hand: the border is cut, the classes of some label compete, and any class of the image's label is right."""
    rows = table("tokens", "--only", "objectnet")
    model = build_model(Config.fromfile(made.tokens)).eval()
    model.load_state_dict(torch.load(made.checkpoints["tokens"])["state_dict"])
    tokenizer = small_kmeans().eval()
    competing = sorted(index for _, indices in OBJECTNET.values() for index in indices)
    right = []
    for folder, (_, indices) in OBJECTNET.items():
        for path in sorted((made.data / "objectnet-1.0" / "images" / folder).iterdir()):
            image = fit_image(Image.open(path).crop((2, 2, 10, 10)), (10, 10), tokenizer.resize_mode)
            pixels = torch.from_numpy(pixels_of(image)[None].copy())
            logits = logits_of(model, encode_pixels(tokenizer, pixels, "cpu", 1))[0]
            right.append(competing[int(logits[competing].argmax())] in indices)
    assert 0 < sum(right) < len(right) == 12
    row = rows["objectnet", ""]
    assert float(row["top1"]) == pytest.approx(100 * sum(right) / 12, abs=1e-3)
    rule = "any class of the label is right, 6 classes in all"
    assert row["convention"] == f"{rule}; these alone compete; 2 pixels cut on each side"


def test_clean_images_of_no_class_of_a_benchmark_leave_its_drop_open(
    table: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    images = class_folders(tmp_path / "few", imagenet_classes()[:2], 1, 12)
    rows = table("tokens", "--only", "objectnet", "--images", images)
    assert rows["clean", ""]["images"] == "2"
    row = rows["objectnet", ""]
    assert (row["images"], row["clean_top1"], row["drop"], row["clean_images"]) == ("12", "", "", "")
    assert "clean: no image is of a class of objectnet" in capsys.readouterr().out


@pytest.mark.slow
def test_clean_score_is_that_of_the_test_tool(table: Callable, tool: Callable, made: Made, tmp_path: Path) -> None:
    """A class of the clean images that is not the model's first: numbers are by name."""
    rows = table("tokens", "--only", "clean", "--batch-size", 5)
    options = ["--images", made.data / "imagenet/val", "--classes", made.data.parent / "classes.txt", "--workers", 0]
    options += ["--out", tmp_path / "score.json", "--work-dir", tmp_path / "test"]
    assert tool("test.py", made.tokens, made.checkpoints["tokens"], *options) == 0
    expected = json.loads((tmp_path / "score.json").read_text())["accuracy/top1"]
    assert float(rows["clean", ""]["top1"]) == pytest.approx(expected, abs=1e-3)


def test_a_second_run_does_what_is_missing(
    table: Callable, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = table("tokens", "--only", "gaussian_blur")
    capsys.readouterr()
    second = table("tokens", "--only", "gaussian_blur", "gaussian_noise", "objectnet")
    printed = capsys.readouterr().out
    assert "has the results of gaussian_blur/5: they are not scored again" in printed
    assert "clean is scored again, for the classes of objectnet." in printed
    assert second["gaussian_blur", "5"] == first["gaussian_blur", "5"]
    assert {key for key, row in second.items() if row["clean_top1"]} == {key for key in second if key[0] != "clean"}
    table("tokens", "--only", "gaussian_blur", "gaussian_noise", "--seed", 1)
    printed = capsys.readouterr().out
    assert "gaussian_noise/4 is scored again, since these have changed: corruption." in printed
    assert "the results of clean:" in printed
    other = tmp_path / "other.pth"
    torch.save({**torch.load(made.checkpoints["tokens"]), "more": 1}, other)
    with pytest.raises(ValueError, match=r"has the results of another checkpoint, .*tokens.pth .*--out-dir"):
        table("tokens", checkpoint=other)


def test_average_and_raw_weights_are_both_scored(
    table: Callable, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The config has no average; the checkpoint does, whose raw weights lie beside it."""
    content = torch.load(made.checkpoints["tokens"])
    weights = content["state_dict"]
    raw = {name: value.flip(0) if name.startswith("head") else value for name, value in weights.items()}
    beside = {"steps": torch.tensor(3), **{f"module.{name}": value for name, value in raw.items()}}
    torch.save({**content, "ema_state_dict": beside}, tmp_path / "both.pth")
    torch.save({**content, "state_dict": raw}, tmp_path / "raw.pth")
    found = {}
    for name in ("both", "raw"):
        table(
            "tokens", "--only", "objectnet", "--out-dir", tmp_path / "out" / name, checkpoint=tmp_path / f"{name}.pth"
        )
        found[name] = scores_of(tmp_path / "out" / name, "objectnet")
    alone = table("tokens", "--only", "objectnet")["objectnet", ""]["top1"]
    assert found["both"] == {"average": pytest.approx(float(alone), abs=1e-3), "raw": found["raw"]["model"]}
    assert found["both"]["average"] != found["both"]["raw"]
    assert "raw weights, which the paper scores" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["tokens", "pixels"])
def test_images_that_cannot_be_read_are_named(stem: str, table: Callable, made: Made, tmp_path: Path) -> None:
    """Those that are grey or CMYK are read; a truncated one is an error, and what was done before is kept."""
    images = shutil.copytree(made.data / "imagenet" / "val", tmp_path / "val")
    grey, cmyk, truncated, *_ = sorted(images.rglob("*.png"))
    Image.open(grey).convert("L").save(grey)
    Image.open(cmyk).convert("CMYK").save(cmyk.with_suffix(".jpg"))
    cmyk.unlink()
    assert table(stem, "--images", images, "--only", "clean")["clean", ""]["images"] == "14"
    truncated.write_bytes(truncated.read_bytes()[:-40])
    with pytest.raises(ValueError, match=f"{truncated.relative_to(images)}"):
        table(stem, "--images", images, "--only", "gaussian_blur")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["passes"].keys() == {"clean"}


@pytest.mark.slow
def test_published_corruptions_are_read(table: Callable, made: Made, tmp_path: Path) -> None:
    names = sorted(path.name for path in (made.data / "imagenet" / "val").iterdir())[:3]
    imagenet_c(tmp_path / "c", names)
    rows = table("tokens", "--only", "gaussian_noise", "--imagenet-c", tmp_path / "c")
    assert {rows["gaussian_noise", severity]["images"] for severity in ("", "1", "4")} == {"3"}
    assert rows["gaussian_noise", ""]["clean_images"] == "6"  # of the same three classes


@pytest.mark.slow
def test_models_of_other_classes_leave_imagenets_out(tool: Callable, made: Made, tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path / "six")
    for number, name in enumerate(("ant", "bee", "cat", "dog", "eel", "fox")):
        (tmp_path / "own" / name).mkdir(parents=True)
        shutil.copy(trained.images / f"{number % 5:04}.png", tmp_path / "own" / name)
    config = tmp_path / "six.py"
    config.write_text(f"_base_ = [{str(trained.config)!r}]\n{TESTED}")
    options = ["--images", tmp_path / "own", "--workers", 0, "--work-dir", tmp_path]
    root = [f"robustness.data_root={made.data}", "robustness.benchmarks.gaussian_noise.severities=[1]"]
    line = [config, trained.checkpoint, *options, "--cfg-options", *root]
    assert tool("test_robustness.py", *line, "robustness.benchmarks.gaussian_blur.severities=[1]") == 0
    rows = rows_of(tmp_path / "robustness")
    assert rows["objectnet", ""]["convention"] == "not run: its classes are ImageNet's, and the model has others"
    assert rows["gaussian_noise", "1"]["images"] == "6"
    assert "SeiT (paper)" not in rows["clean", ""]
    with pytest.raises(ValueError, match="--only objectnet: its classes are ImageNet's"):
        tool("test_robustness.py", *line[:-3], "--only", "objectnet", "--cfg-options", *root)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["codes", "embeddings"])
def test_ready_config_serves_other_networks(output: str, tool: Callable, repository: Path, tmp_path: Path) -> None:
    """Sizes are those of the checkpoint, and the scores those of its own config."""
    trained = make_trained_classifier(tmp_path, output=output)
    content = torch.load(trained.checkpoint)
    content["meta"]["cfg"] = Config.fromfile(trained.config).pretty_text
    torch.save(content, trained.checkpoint)
    names = sorted(path.name for path in trained.images.iterdir())
    (tmp_path / "list.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)))
    (tmp_path / "own.py").write_text(f"_base_ = [{str(trained.config)!r}]\n{TESTED}")
    ready = repository / "configs" / "robustness" / "robustness_vit-base-p16_in1k-tokens.py"
    line = [trained.checkpoint, "--images", tmp_path / "list.txt", "--root", trained.images, "--workers", 0]
    line += ["--tokenizer", trained.store, "--only", "gaussian_noise", "--work-dir", tmp_path / "work"]
    for config in (ready, tmp_path / "own.py"):
        assert tool("test_robustness.py", config, *line, "--out-dir", tmp_path / config.stem) == 0
    assert rows_of(tmp_path / ready.stem) == rows_of(tmp_path / "own")


@pytest.fixture(scope="module")
def whole(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All data sets, with all classes."""
    data = tmp_path_factory.mktemp("whole")
    class_folders(data / "imagenet" / "val", imagenet_classes(), 1, 12)
    imagenet_r(data / "imagenet-r", size=12)
    imagenet_sketch(data / "sketch", size=12)
    objectnet(data / "objectnet-1.0")
    return data


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["tokens", "pixels"])
def test_all_benchmarks_by_two_processes_as_by_one(
    stem: str, whole: Path, made: Made, table: Callable, spawn: Callable, tmp_path: Path
) -> None:
    root = ["--cfg-options", f"robustness.data_root={whole}"]
    alone = table(stem, "--batch-size", 64, *root)
    assert all(row["top1"] != "not run" for row in alone.values())
    assert [alone[name, ""]["images"] for name in ("clean", "imagenet_r", "imagenet_sketch")] == ["1000", "200", "1000"]
    assert alone["imagenet_r", ""]["clean_images"] == "200"
    line = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, "tools/test_robustness.py"]
    line += [made.data.parent / f"{stem}.py", made.checkpoints[stem], "--launcher", "pytorch"]
    line += ["--out-dir", tmp_path / "two", "--work-dir", tmp_path / "work2", "--workers", 1, "--batch-size", 7]
    line += ["--classes", made.data.parent / "classes.txt"]
    output = (process := spawn(*line, *root)).communicate(timeout=300)[0]
    assert process.returncode == 0, output[-5000:]
    assert rows_of(tmp_path / "two") == alone


def test_an_interrupted_run_says_how_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    main = runpy.run_path(str(TOOLS / "test_robustness.py"))["main"]

    def interrupt(args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(main.__globals__, "score", interrupt)
    assert main(["config.py", "checkpoint.pth"]) == 130
    assert capsys.readouterr().err == "interrupted; run the same command again to continue\n"
