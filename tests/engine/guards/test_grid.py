"""Another grid of tokens than a model was trained on, or another crop of it, is refused wherever it is given."""

import copy
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.shrinking import shrink
from seitpp.apis import FeatureExtractor, TokenClassificationInferencer, get_model, load_classifier
from seitpp.benchmarking.synthetic import make_codebook, make_store
from seitpp.engine.guards import grid as grid_guard
from seitpp.export.export import export_model
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.structures.grid_record import TokenGrid, grid_difference, recorded_grid

BASES = (
    "models/mtm-classifier_vit-tiny-p2.py",
    "datasets/digits_tokens.py",
    "schedules/finetune_adamw_8xb128-100e.py",
    "default_runtime.py",
)
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores `4`, `6` and `8` of grids of so many rows and columns, of one codebook."""
    folder = tmp_path_factory.mktemp("stores")
    for side in (4, 6, 8):
        options = dict(num_samples=8, grid=(side, side), codebook_size=8, num_classes=4)
        make_store(folder / str(side), codebook=make_codebook(8, 4), **options)
    return folder


@pytest.fixture
def config(repository: Path, tmp_path: Path, stores: Path) -> Callable[..., Config]:
    """A classifier of a grid and a crop of it, on stores of grids of their own."""

    def make(side: int, crop: int | None = None, train: int | None = None, test: int | None = None) -> Config:
        bases = [str(repository / "configs" / "_base_" / name) for name in BASES]
        (tmp_path / "leaf.py").write_text(f"_base_ = {bases}")
        cfg = Config.fromfile(tmp_path / "leaf.py")
        for name in LOADERS:
            store = str(stores / str((train if name[0] == "t" and name[1] == "r" else test) or side))
            cfg[name].dataset.update(data_root="", store=store)
        cfg.data_preprocessor.update(codebook=str(stores / "4"), num_classes=4, crop_size=None, augments=None)
        cfg.model.backbone.update(codebook_size=8, grid_size=crop or side)
        cfg.model.head.num_classes = 4
        cfg.val_evaluator[0].topk = cfg.test_evaluator[0].topk = (1,)
        cfg = shrink(cfg, tmp_path, epochs=1)
        cfg.data_preprocessor.crop_size = None if crop is None else (crop, crop)
        return cfg

    return make


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trained") / "epoch_1.pth"


@pytest.fixture
def trained(config: Callable, build_runner: Callable[[Config], Runner], kept: Path, tmp_path: Path) -> str:
    """A checkpoint of a classifier of 4 x 4 codes."""
    if not kept.exists():
        cfg = config(4)
        build_runner(cfg).train()
        shutil.copy(Path(cfg.work_dir) / "epoch_1.pth", kept)
    return str(shutil.copy(kept, tmp_path / "trained.pth"))


def refusal(runner: Runner, stage: str) -> str:
    with pytest.raises(ValueError) as caught:
        getattr(runner, stage)()
    assert runner.iter == 0
    return str(caught.value)


@pytest.mark.parametrize(
    ("trained", "given", "difference"),
    [
        (TokenGrid(), TokenGrid((8, 8), (8, 8)), None),
        (TokenGrid((4, 4)), TokenGrid((4, 4), (4, 4)), None),
        (TokenGrid((4, 4)), TokenGrid((8, 8), (4, 4)), "grids of 4 x 4 tokens and is given 8 x 8"),
        (TokenGrid((4, 4), (4, 4)), TokenGrid((4, 4), (2, 2)), "the central 4 x 4 tokens and is given 2 x 2"),
        (TokenGrid((4, 4), (4, 4)), TokenGrid(None, (4, 4)), None),
    ],
)
def test_difference_in_words(trained: TokenGrid, given: TokenGrid, difference: str | None) -> None:
    found = grid_difference(trained, given)
    assert found == (None if difference is None else f"it was trained on {difference}")


def test_record_of_a_checkpoint() -> None:
    grid = TokenGrid((8, 8), (7, 7))
    assert recorded_grid({"token_grid": grid.record()}, "a.pth") == grid
    assert recorded_grid({"dataset_meta": {"grid": [8, 8]}}, "a.pth") == TokenGrid((8, 8))
    assert recorded_grid({}, "a.pth") == recorded_grid(None, "a.pth") == TokenGrid()


@pytest.mark.parametrize("value", [3.5, [8], [8, 0], [8, "8"], [True, 8], {}, [8, 2**60]])
def test_damaged_record_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"checkpoint a\.pth: stored is .*, expected rows and columns"):
        recorded_grid({"token_grid": {"stored": value}}, "a.pth")
    with pytest.raises(ValueError, match=r"checkpoint a\.pth: token_grid is 3, expected a dict"):
        recorded_grid({"token_grid": 3}, "a.pth")


def test_checkpoint_keeps_grid_and_crop(
    config: Callable, build_runner: Callable[[Config], Runner], trained: str, tmp_path: Path
) -> None:
    assert load_checkpoint_file(trained)["meta"]["token_grid"] == {"stored": [4, 4], "kept": [4, 4]}
    build_runner(config(8, crop=6)).train()
    saved = load_checkpoint_file(tmp_path / "work_dir" / "epoch_1.pth")
    assert saved["meta"]["token_grid"] == {"stored": [8, 8], "kept": [6, 6]}


@pytest.mark.parametrize("crop", [None, 4])
@pytest.mark.parametrize("stage", ["test", "val"])
def test_larger_grid_is_refused_resized_or_cropped(
    config: Callable, build_runner: Callable, trained: str, crop: int | None, stage: str
) -> None:
    cfg = config(4, test=8)
    if crop is not None:
        cfg.data_preprocessor.crop_size = (crop, crop)
    cfg.load_from = trained
    message = refusal(build_runner(cfg), stage)
    assert "trained.pth does not fit" in message
    assert "it was trained on grids of 4 x 4 tokens and is given 8 x 8" in message
    assert message.endswith("Where the difference is meant, set default_hooks.data_guard.compare_grids=False")


def test_same_grid_and_a_difference_that_is_meant_pass(config: Callable, build_runner: Callable, trained: str) -> None:
    cfg = config(4)
    cfg.load_from = trained
    assert "accuracy/top1" in build_runner(copy.deepcopy(cfg)).test()
    cfg = config(4, test=8)
    cfg.load_from = trained
    cfg.default_hooks.data_guard.compare_grids = False
    assert "accuracy/top1" in build_runner(cfg).test()


def test_network_of_another_grid_than_the_checkpoint(config: Callable, build_runner: Callable, trained: str) -> None:
    """Where nothing is recorded, the number of positions tells."""
    checkpoint = load_checkpoint_file(trained)
    torch.save({"meta": {}, "state_dict": checkpoint["state_dict"]}, trained)
    cfg = config(8)
    cfg.load_from = trained
    assert "has 17 positions, the network of the config 65: it was trained on another grid" in refusal(
        build_runner(cfg), "test"
    )


def test_network_of_another_size_than_the_data(config: Callable, build_runner: Callable, trained: str) -> None:
    checkpoint = load_checkpoint_file(trained)
    torch.save({"meta": {}, "state_dict": checkpoint["state_dict"]}, trained)
    cfg = config(4, test=8)
    cfg.load_from = trained
    message = refusal(build_runner(cfg), "test")
    assert "the network is made for 4 x 4 tokens and" in message
    assert "gives it 8 x 8; set model.backbone.grid_size and data_preprocessor.crop_size" in message


def test_other_crop_of_the_same_grid(config: Callable, build_runner: Callable, tmp_path: Path) -> None:
    build_runner(config(8, crop=6)).train()
    cfg = config(8, crop=4)
    cfg.model.backbone.grid_size = 6
    cfg.load_from = str(tmp_path / "work_dir" / "epoch_1.pth")
    assert "it was trained on the central 6 x 6 tokens and is given 4 x 4" in refusal(build_runner(cfg), "test")


@pytest.mark.parametrize(
    ("side", "train", "test", "message"),
    [
        (4, 8, 8, "the network is made for 4 x 4 tokens and"),
        (4, 4, 8, "8 does not fit|a model of .*4 does not fit .*8: it was trained on grids of 4 x 4|gives it 8 x 8"),
    ],
    ids=["both", "validation"],
)
def test_training_on_another_grid(
    config: Callable, build_runner: Callable, side: int, train: int, test: int, message: str
) -> None:
    runner = build_runner(config(side, train=train, test=test))
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def test_validation_on_a_larger_grid_that_is_cropped(config: Callable, build_runner: Callable) -> None:
    cfg = config(4, test=8)
    cfg.data_preprocessor.crop_size = (4, 4)
    message = refusal(build_runner(cfg), "train")
    assert "a model of" in message
    assert "it was trained on grids of 4 x 4 tokens and is given 8 x 8" in message


def test_resuming_on_another_grid_is_refused(config: Callable, build_runner: Callable, trained: str) -> None:
    cfg = config(4, train=6, test=6)
    cfg.data_preprocessor.crop_size = (4, 4)
    cfg.load_from, cfg.resume = trained, True
    cfg.train_cfg.max_epochs = 2
    runner = build_runner(cfg)
    with pytest.raises(ValueError, match="it was trained on grids of 4 x 4 tokens and is given 6 x 6"):
        runner.train()


def test_training_on_from_weights_of_another_grid_is_told(
    config: Callable, build_runner: Callable, trained: str, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(8)
    cfg.load_from = trained
    runner = build_runner(cfg)
    runner.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        runner.train()
    assert "trained.pth is trained on at another grid: it was trained on grids of 4 x 4 tokens and is given" in (
        caplog.text
    )


def test_pretrained_encoder_of_another_grid_is_told(
    config: Callable, build_runner: Callable, trained: str, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = config(8)
    cfg.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=trained, prefix="backbone.")
    runner = build_runner(cfg)
    runner.logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING):
        runner.train()
    assert "goes on at another grid: it was trained on grids of 4 x 4 tokens and is given 8 x 8" in caplog.text


def test_bank_of_neighbours_of_another_grid(
    config: Callable, build_runner: Callable, trained: str, stores: Path
) -> None:
    cfg = config(4)
    cfg.train_dataloader = cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.model.head = dict(type="seitpp.KNNHead", num_classes=4, in_channels=cfg.model.head.in_channels, k=1)
    dataset = dict(type="seitpp.TokenDataset", store=str(stores / "8"))
    cfg.default_hooks.bank = dict(type="seitpp.KNNBankHook", dataset=dataset)
    cfg.test_evaluator = dict(type="mmpretrain.Accuracy", topk=(1,))
    cfg.load_from = trained
    assert "it was trained on grids of 4 x 4 tokens and is given 8 x 8" in refusal(build_runner(cfg), "test")


@pytest.mark.parametrize("crop", [None, 4])
def test_inferencer(config: Callable, trained: str, stores: Path, crop: int | None) -> None:
    cfg = config(4)
    cfg.data_preprocessor.crop_size = None if crop is None else (crop, crop)
    inferencer = TokenClassificationInferencer(cfg, trained, device="cpu")
    assert len(inferencer(str(stores / "4"), topk=1)) == 8
    for given in (str(stores / "8"), torch.zeros(2, 8, 8, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"grids of 4 x 4 tokens and is given 8 x 8.*pass compare_grids=False"):
            inferencer(given, topk=1)
    anything = TokenClassificationInferencer(cfg, trained, device="cpu", compare_grids=False)
    assert len(anything(str(stores / "8"), topk=1)) == 8


def test_loading_a_network_of_another_grid(config: Callable, trained: str, tmp_path: Path) -> None:
    content = torch.load(trained, weights_only=False)
    del content["meta"]["cfg"]  # as a converted checkpoint
    torch.save(content, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match="has 17 positions, the network of the config 65"):
        load_classifier(config(8), tmp_path / "bare.pth")
    assert load_classifier(config(8), trained, compare_grids=False).backbone.img_size == (8, 8)


def test_loading_follows_the_checkpoint_s_own_config(config: Callable, trained: str, stores: Path) -> None:
    cfg = config(8)
    cfg.model.head.num_classes = 9
    inferencer = TokenClassificationInferencer(cfg, trained, device="cpu")
    assert inferencer.num_classes == 4 and inferencer.model.backbone.img_size == (4, 4)
    assert len(inferencer(str(stores / "4"), topk=1)) == 8
    assert FeatureExtractor(cfg, trained, "cpu")(str(stores / "4")).shape == (8, 16)
    assert cfg.model.head.num_classes == 9 and get_model(cfg, trained).head.num_classes == 4
    with pytest.raises(ValueError, match=r"does not fit the model: wrong shapes: head\.fc\.weight"):
        get_model(cfg, trained, head=dict(num_classes=9))  # which was asked for


def test_checkpoint_of_another_kind_of_model(config: Callable, trained: str) -> None:
    with pytest.raises(ValueError, match=r"trained\.pth is of a classifier, by the .* is the config of MTM"):
        get_model("mtm_vit-tiny-p2_1xb64-100e_digits-tokens", trained)


def test_export(config: Callable, trained: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it was trained on grids of 4 x 4 tokens and is given 8 x 8"):
        export_model(config(4, test=8), trained, tmp_path / "out")


def test_windows_of_a_segmentor_are_what_it_sees() -> None:
    model = torch.nn.Module()
    model.decode_head, model.test_cfg = torch.nn.Module(), {"mode": "slide", "crop_size": (4, 4), "stride": 2}
    facts = {"grid": [8, 8]}
    assert grid_guard.seen_grid(model, facts, "store") == TokenGrid(None, (4, 4))
    model.test_cfg = {"mode": "whole"}
    assert grid_guard.seen_grid(model, facts, "store") == TokenGrid((8, 8), (8, 8))


def test_token_adapt_is_of_the_grids_it_has() -> None:
    model = torch.nn.Module()
    model.token_adapt = torch.nn.Module()
    model.token_adapt.grid, model.token_adapt.out_grid = (8, 8), (7, 7)
    assert grid_guard.grid_of(model, {"image_size": [8, 8]}, "images") == TokenGrid((8, 8), (7, 7))
