"""Segmentation from config to scores: numbers of the recipe, the metric by hand, guards, pictures, and a run."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

from helpers.config_files import dump_config
from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import make_seg_store, with_synthetic_data
from seitpp.registry import MODELS
from seitpp.tokenizers import PatchKMeans
from seitpp.visualization.label_pictures import overlay, segmentation_picture

LEAF = "upernet_vit-base-p16_{}_8xb2-80k_ade20k-tokens-512px.py"
SEIT, SEITPP, COLOR = LEAF.format("seit"), LEAF.format("mtm-400e-pre"), LEAF.format("mtm-400e-pre_coloradapt")
SMALL = "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"
CONFIGS = Path(__file__).resolve().parents[1] / "configs" / "segmentation"


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


@pytest.mark.parametrize("name", [SEIT, SEITPP])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim_wrapper.optimizer.type", "AdamW"),
        ("optim_wrapper.optimizer.lr", 6e-5),
        ("optim_wrapper.optimizer.betas", (0.9, 0.999)),
        ("optim_wrapper.optimizer.weight_decay", 0.01),
        ("auto_scale_lr.base_batch_size", 16),
        ("train_dataloader.batch_size", 16 / 8),
        ("train_cfg.max_iters", 80000),
        ("sync_bn", "torch"),
        ("model.backbone.grid_size", 64),
        ("model.backbone.patch_size", 2),
        ("model.backbone.out_indices", [2, 5, 8, 11]),
        ("model.backbone.final_norm", False),
        ("model.backbone.drop_path_rate", 0.1),
        ("model.decode_head.channels", 512),
        ("model.decode_head.pool_scales", (1, 2, 3, 6)),
        ("model.decode_head.dropout_ratio", 0.1),
        ("model.decode_head.num_classes", 150),
        ("model.decode_head.loss_decode.avg_non_ignore", True),
        ("model.auxiliary_head.channels", 256),
        ("model.auxiliary_head.in_index", 2),
        ("model.auxiliary_head.loss_decode.loss_weight", 0.4),
        ("model.test_cfg.mode", "whole"),
        ("val_evaluator.prefix", "seg"),
    ],
)
def test_recipe_number(name: str, key: str, value: Any) -> None:
    node = load(name)
    for part in key.split("."):
        node = node[part]
    assert node == value


def test_inputs_and_augmentations_of_the_leaves() -> None:
    seit, seitpp, color = (load(name) for name in (SEIT, SEITPP, COLOR))
    assert (seit.data_preprocessor.output, seit.model.backbone.codebook_size) == ("embeddings", None)
    assert seit.model.backbone.patch_cfg == dict(kernel_size=4, stride=2, padding=1)
    assert "augments" not in seit.data_preprocessor
    (adapt,) = seitpp.data_preprocessor.augments
    flip, affine, crop = adapt.augments
    assert (adapt.token_adapt.out_grid, crop.size) == (64, 128) and "grid" not in adapt.token_adapt  # but the data's
    assert [one.type for one in (flip, affine, crop)] == [
        "seitpp.BatchRandomFlip",
        "seitpp.BatchRandomAffine",
        "seitpp.BatchRandomResizedCrop",
    ]
    assert [one.type for one in color.data_preprocessor.augments] == ["seitpp.TokenAdaptAugment", "seitpp.ColorAdapt"]


def test_rates_and_decays_of_the_schedule(tmp_path: Path) -> None:
    cfg = with_synthetic_data(load(SEITPP), tmp_path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        preprocessor = MODELS.build(cfg.data_preprocessor)
        with torch.device("meta"):
            model = MODELS.build({**cfg.model, "data_preprocessor": preprocessor})
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    free = {names[id(group["params"][0])] for group in wrapper.optimizer.param_groups if not group["weight_decay"]}
    norms = {
        f"{name}.{part}"
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.LayerNorm, torch.nn.BatchNorm2d))
        for part in ("weight", "bias")
    }
    assert free == norms | {"backbone.cls_token", "backbone.pos_embed"}
    rates = {group["lr"] for group in wrapper.optimizer.param_groups}
    assert rates == {6e-5}  # no layer decay


def test_schedule_warms_up_and_falls_to_zero() -> None:
    from mmengine.registry import PARAM_SCHEDULERS

    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=6e-5)
    schedulers = [
        PARAM_SCHEDULERS.build({**copy.deepcopy(cfg), "optimizer": optimizer}) for cfg in load(SEITPP).param_scheduler
    ]
    wanted = {0: 6e-11, 1499: 6e-5, 1500: 6e-5, 40750: 3e-5, 79999: 0}
    optimizer.step()
    for step in range(80000):
        if step in wanted:
            assert optimizer.param_groups[0]["lr"] == pytest.approx(wanted[step], rel=2e-3, abs=2e-9), step
        for scheduler in schedulers:
            scheduler.step()


def evaluator(**options: object) -> Evaluator:
    metric = {**load(SMALL).val_evaluator, **options}
    with DefaultScope.overwrite_default_scope("seitpp"):
        built = Evaluator([metric])
    built.dataset_meta = dict(classes=["sky", "sea", "sand", "ship"])
    return built


def scored(built: Evaluator, *pairs: tuple[list, list]) -> dict[str, float]:
    samples = []
    for prediction, truth in pairs:
        sample = SegDataSample()
        sample.pred_sem_seg = PixelData(data=torch.tensor([prediction]))
        sample.gt_sem_seg = PixelData(data=torch.tensor([truth], dtype=torch.uint8))
        samples.append(sample)
    built.process(data_samples=samples, data_batch={})
    return built.evaluate(len(samples))


def test_scores_of_two_by_three_pixels_by_hand() -> None:
    # One pixel to ignore, though its prediction would be wrong; no ship in truth or prediction.
    metrics = scored(evaluator(per_class=True), ([[0, 0, 1], [2, 2, 3]], [[0, 1, 1], [2, 1, 255]]))
    # sky: 1 of 2, sea: 1 of 3, sand: 1 of 2; the ship is left out of the mean, and is not 0.
    assert metrics["seg/mIoU"] == pytest.approx(100 * (1 / 2 + 1 / 3 + 1 / 2) / 3, abs=0.006)
    assert metrics["seg/aAcc"] == pytest.approx(100 * 3 / 5)
    assert metrics["seg/mAcc"] == pytest.approx(100 * (1 + 1 / 3 + 1) / 3, abs=0.006)
    assert {name: value for name, value in metrics.items() if "/IoU/" in name} == {
        "seg/IoU/sky": 50.0,
        "seg/IoU/sea": 33.33,
        "seg/IoU/sand": 50.0,
    }


def test_pixels_are_counted_over_all_samples_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "info", lambda line, *_args: lines.append(line))
    metrics = scored(evaluator(), ([[0]], [[0]]), ([[0, 0, 1]], [[1, 1, 1]]))
    assert metrics["seg/mIoU"] == pytest.approx(100 * (1 / 3 + 1 / 3) / 2, abs=0.006)
    assert "Scored at the size of the label maps: 2 sizes from 1 x 1 to 1 x 3." in lines


def test_predictions_are_written_without_a_score(tmp_path: Path) -> None:
    built = evaluator(format_only=True, output_dir=str(tmp_path))
    sample = SegDataSample(metainfo=dict(img_path="store/00000003"))
    for name in ("pred_sem_seg", "gt_sem_seg"):
        setattr(sample, name, PixelData(data=torch.tensor([[[0, 2]]])))
    built.process(data_samples=[sample], data_batch={})
    assert built.evaluate(1) == {}
    with Image.open(tmp_path / "00000003.png") as picture:
        assert picture.tobytes() == bytes([0, 2])


@pytest.fixture
def refusal(build_runner: Callable[[Config], Runner], tmp_path: Path) -> Callable[..., str]:
    def message(stage: str = "train", **options: Any) -> str:
        cfg = shrink(load(SMALL), tmp_path, epochs=1)
        cfg.merge_from_dict(options)
        runner = build_runner(cfg)
        with pytest.raises(ValueError) as caught:
            getattr(runner, stage)()
        assert runner.iter == 0
        return str(caught.value)

    return message


@pytest.mark.parametrize("stage", ["train", "val", "test"])
@pytest.mark.parametrize("head", ["decode_head", "auxiliary_head"])
def test_another_number_of_classes_is_refused(refusal: Callable, stage: str, head: str) -> None:
    message = refusal(stage, **{f"model.{head}.num_classes": 7})
    assert f"has 5 classes, the {head} has 7; set model.{head}.num_classes" in message


def test_checkpoint_of_other_classes_is_refused(build_runner: Callable[[Config], Runner], tmp_path: Path) -> None:
    cfg = shrink(load(SMALL), tmp_path, epochs=1)
    build_runner(copy.deepcopy(cfg)).train()
    cfg.load_from = str(tmp_path / "work_dir" / "iter_2.pth")
    cfg.test_dataloader.dataset.metainfo = dict(classes=["a", "b", "c", "d", "e"], palette=[[0, 0, 0]] * 5)
    with pytest.raises(ValueError, match="does not have the classes of checkpoint"):
        build_runner(cfg).test()


def test_tools_train_and_test_and_draw(tool: Callable[..., int], tmp_path: Path) -> None:
    kmeans = PatchKMeans(image_size=32, patch_size=2).describe()
    sizes = dict(codebook_size=256, code_dim=12, num_classes=5, tokenizer=kmeans)
    for split, scale in (("train", 2), ("val", 3)):  # label maps of another size than in training
        make_seg_store(tmp_path / "data" / "scenes-tokens" / split, num_samples=4, scale=scale, **sizes)
    dump_config(shrink(load(SMALL), tmp_path, epochs=1), tmp_path / "small.py")
    work_dir, shown = tmp_path / "run", tmp_path / "shown"
    assert tool("train.py", tmp_path / "small.py", "--work-dir", work_dir) == 0
    line = (tmp_path / "small.py", work_dir / "iter_2.pth", "--work-dir", work_dir, "--out", tmp_path / "scores.json")
    assert tool("test.py", *line, "--show-dir", shown) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {"seg/mIoU", "seg/mAcc", "seg/aAcc"} <= set(scores)
    assert all(math.isfinite(value) for value in scores.values())
    names = sorted(path.name for path in shown.iterdir())
    assert names == [f"{number:08d}.png" for number in range(4)]
    with Image.open(shown / names[0]) as picture:
        assert picture.width > 3 * 192
    logs = [path.read_text() for path in work_dir.glob("*/*.log")]
    assert all("Scored at the size of the label maps: 48 x 48" in log for log in logs)


def test_colours_lie_over_what_has_a_class() -> None:
    image = torch.full((3, 1, 3), 100, dtype=torch.uint8)
    found = overlay(image, torch.tensor([[0, 1, 255]]), [[0, 0, 0], [200, 100, 0]], 0.6)
    assert found[:, 0].T.tolist() == [[40, 40, 40], [160, 100, 40], [100, 100, 100]]


def test_picture_shows_truth_beside_prediction_and_names_classes() -> None:
    image, labels = torch.zeros(1, 4, 4, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.int64)
    palette, names = [[255, 0, 0], [0, 255, 0]], ["red", "green"]
    page = segmentation_picture(image, labels + 1, names, palette, truth=labels)
    assert page.getpixel((10, 10)) == (0, 0, 0)
    assert page.getpixel((206, 10)) == (128, 0, 0) and page.getpixel((402, 10)) == (0, 128, 0)
    colours = {colour for _count, colour in page.crop((0, 192, *page.size)).getcolors(10000)}
    assert {(255, 0, 0), (0, 255, 0)} <= colours
    assert segmentation_picture(image, labels, names, palette).width < page.width


@pytest.mark.slow
def test_a_handful_of_images_is_learned_by_heart(build_runner: Callable[[Config], Runner], tmp_path: Path) -> None:
    make_seg_store(tmp_path / "few", num_samples=8, codebook_size=256, code_dim=12, num_classes=5, scale=4)
    cfg = load(SMALL)
    cfg.work_dir = str(tmp_path / "work_dir")
    cfg.data_preprocessor.codebook = str(tmp_path / "few")
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(data_root=str(tmp_path), store="few")
    cfg.train_cfg.update(max_iters=300, val_interval=300)
    cfg.optim_wrapper.optimizer.lr = 2e-3
    runner = build_runner(cfg)
    runner.train()
    assert runner.message_hub.get_scalar("val/seg/mIoU").current() > 90


@pytest.mark.slow
def test_two_processes_train_and_score_as_one(spawn: Callable[..., Any], tmp_path: Path) -> None:
    dump_config(shrink(load(SMALL), tmp_path, epochs=1), tmp_path / "small.py")
    scores = []
    for processes in (1, 2):
        out, work_dir = tmp_path / f"{processes}.json", tmp_path / f"run{processes}"
        start = ("torchrun", "--standalone", "--nproc_per_node", processes) if processes > 1 else ("python",)
        launcher = ("--launcher", "pytorch") if processes > 1 else ()
        train = ("tools/train.py", tmp_path / "small.py", "--work-dir", work_dir, *launcher)
        score = ("tools/test.py", tmp_path / "small.py", tmp_path / "run1" / "iter_2.pth", "--out", out, *launcher)
        for line in ((*start, *train), (*start, *score, "--work-dir", work_dir)):
            process = spawn(*line)
            output, _ = process.communicate()
            assert process.returncode == 0, output[-3000:]
        scores.append(json.loads(out.read_text()))
    assert scores[0] == scores[1]
