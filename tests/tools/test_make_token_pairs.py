"""tools/make_token_pairs.py: the same files however often it stops and whoever shares the work; and the run without."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from safetensors.numpy import load_file

from helpers.shrinking import shrink
from seitpp.registry import DATASETS, MODELS
from seitpp.structures.draws import with_tensors
from seitpp.token_pairs import maker
from seitpp.token_pairs.format import TokenPairReader
from seitpp.token_pairs.maker import make_token_pairs

TOOL = "make_token_pairs.py"
NUM_IMAGES = 9


AUGMENTS = [
    dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2),
    dict(type="seitpp.BatchRandomResizedCrop", size=8, scale=(0.3, 1.0)),
    dict(type="seitpp.BatchMixup", alpha=0.8),
]


def draw_while_loading(cfg: Config) -> None:
    """Known augmentations, and a pipeline that draws, so that this is a part's own, too."""
    cfg.model.augments = AUGMENTS
    flip = dict(type="mmpretrain.RandomFlip", prob=0.5)
    cfg.train_dataloader.dataset.pipeline = [cfg.pipeline[0], flip, cfg.pipeline[1]]
    cfg.train_dataloader.dataset.serialize_data = False  # mmengine collects garbage then, most of the time of a test


def keep_all(cfg: Config) -> None:
    """A rate at which a difference in any draw shows in the weights, and every checkpoint."""
    cfg.auto_scale_lr.enable = False
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)


@pytest.fixture(scope="module")
def leaf(repository: Path) -> Path:
    return repository / "configs" / "tokenadapt" / "tokenadapt_d64_1xb64-40e_digits-8px.py"


@pytest.fixture
def config(tiny: Callable, unformatted_configs: None, leaf: Path) -> Path:
    return tiny(leaf, edit=draw_while_loading, num_samples=NUM_IMAGES)


@pytest.fixture(scope="module")
def shrunken(leaf: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    cfg = Config.fromfile(leaf)
    draw_while_loading(cfg)
    return shrink(cfg, tmp_path_factory.mktemp("images"), num_samples=NUM_IMAGES)


@pytest.fixture
def cfg(shrunken: Config) -> Iterator[Config]:
    with DefaultScope.overwrite_default_scope("seitpp"):
        yield copy.deepcopy(shrunken)


@pytest.fixture(scope="module")
def whole(shrunken: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one run makes that is not stopped; not to be changed."""
    folder = tmp_path_factory.mktemp("whole") / "pairs"
    with DefaultScope.overwrite_default_scope("seitpp"):
        make(shrunken, folder)
    return folder


def make(cfg: Config, out: Path, **options: object) -> int:
    """Four groups of two images an epoch, one left over; two groups a part."""
    return make_token_pairs(cfg, out, **{"group_size": 2, "groups_per_part": 2, "epochs": 2, **options})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(monkeypatch: pytest.MonkeyPatch, parts: int) -> None:
    """Let the process die while it works on a later part."""
    made = []
    whole = maker._make_part

    def failing(*args: object) -> object:
        if len(made) == parts:
            raise KeyboardInterrupt
        made.append(None)
        return whole(*args)

    monkeypatch.setattr(maker, "_make_part", failing)


def be_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    """What launchers tell a process, wherever mmengine asks."""
    for module in ("seitpp.token_pairs.maker", "mmengine.runner.runner"):
        monkeypatch.setattr(f"{module}.get_rank", lambda group=None: rank)
        monkeypatch.setattr(f"{module}.get_world_size", lambda group=None: world_size)
    monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda group=None: (rank, world_size))


def test_pairs_are_those_of_the_images_and_the_draws(cfg: Config, tmp_path: Path) -> None:
    cfg.train_dataloader.dataset.pipeline = cfg.pipeline  # nothing is drawn but by the augmentations
    assert make(cfg, tmp_path / "pairs") == 16
    reader = TokenPairReader(tmp_path / "pairs")
    model = MODELS.build({**cfg.model, "data_preprocessor": cfg.data_preprocessor})
    templates = model.draw(2, "cpu")
    for group in range(reader.num_groups):
        source, target, draws = reader.read_group(group)
        images = pictures(cfg, source, model)
        drawn = [
            with_tensors(one, {name: torch.from_numpy(values) for name, values in fields.items()})
            for one, fields in zip(templates, draws, strict=True)
        ]
        assert torch.equal(model.pairs(images, drawn)[1], torch.from_numpy(target).long())


def pictures(cfg: Config, tokens: np.ndarray, model: torch.nn.Module) -> torch.Tensor:
    """The images that have these tokens."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    images = torch.stack([dataset[place]["inputs"] for place in range(len(dataset))]) / 255
    found = {str(codes.tolist()): image for codes, image in zip(model.tokenizer().encode(images), images, strict=True)}
    assert len(found) == len(images)
    return torch.stack([found[str(codes.tolist())] for codes in tokens])


def test_every_epoch_has_its_own_order_and_draws(whole: Path) -> None:
    reader = TokenPairReader(whole)
    boxes, sources = [], []
    for group in range(8):
        source, _, draws = reader.read_group(group)
        boxes += draws[1]["boxes"].tolist()
        sources.append(source)
    assert len({str(box) for box in boxes}) > 8
    assert not np.array_equal(np.concatenate(sources[:4]), np.concatenate(sources[4:]))


def test_images_are_seen_at_most_once_an_epoch() -> None:
    places = maker._indices(range(0, 8), NUM_IMAGES, 4, 2, seed=0)
    for epoch in (places[:8], places[8:]):
        assert len(set(epoch.tolist())) == 8
    assert set(places.tolist()) == set(range(NUM_IMAGES))  # another image is left over
    assert np.array_equal(places[6:12], maker._indices(range(3, 6), NUM_IMAGES, 4, 2, seed=0))


def test_stopped_run_continues_with_the_same_bytes(
    cfg: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, parts=2)
        with pytest.raises(KeyboardInterrupt):
            make(cfg, tmp_path / "stopped")
    assert len(files(tmp_path / "stopped")) == 3
    with pytest.raises(ValueError, match="lack 2 of 4 parts"):
        TokenPairReader(tmp_path / "stopped")
    make(cfg, tmp_path / "stopped")
    assert files(tmp_path / "stopped") == files(whole)


def test_finished_run_makes_nothing_again(cfg: Config, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after(monkeypatch, parts=0)
    assert make(cfg, whole) == 16


def test_two_processes_make_the_files_of_one(
    cfg: Config, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (1, 0):  # one after the other: the second finds the first one's parts
        with monkeypatch.context() as patch:
            be_rank(patch, rank, 2)
            make(cfg, tmp_path / "two")
        assert len(files(tmp_path / "two")) == (3 if rank else 5)
    assert files(tmp_path / "two") == files(whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_that_load_do_not_depend_on_the_rank(
    cfg: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    cfg.train_dataloader.num_workers = workers
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(maker, "step_seed", lambda seed, number, rank: 5)  # any part is the same part
        monkeypatch.setattr(maker, "_indices", lambda *args: np.arange(4))
        be_rank(monkeypatch, rank, 2)
        make(cfg, tmp_path / "pairs")
        arrays = load_file(tmp_path / "pairs" / f"part-{rank:05d}.safetensors")
        arrays.pop("header")  # it tells parts apart
        parts.append({name: values.tobytes() for name, values in arrays.items()})
    assert parts[0] == parts[1]


def test_loader_processes_change_nothing_where_loading_draws_nothing(cfg: Config, tmp_path: Path) -> None:
    cfg.train_dataloader.dataset.pipeline = cfg.pipeline
    make(cfg, tmp_path / "none", epochs=1)
    cfg.train_dataloader.num_workers = 2
    make(cfg, tmp_path / "two", epochs=1)
    assert files(tmp_path / "two") == files(tmp_path / "none")


@pytest.mark.parametrize("options", [dict(seed=1), dict(epochs=3), dict(group_size=3), dict(groups_per_part=1)])
def test_other_options_are_refused(cfg: Config, whole: Path, options: dict) -> None:
    with pytest.raises(ValueError, match="were begun with other settings"):
        make(cfg, whole, **options)


def test_other_augmentations_are_refused(cfg: Config, whole: Path) -> None:
    cfg.model.augments[0].degrees = 20
    with pytest.raises(ValueError, match=r"were begun with other settings \(augments "):
        make(cfg, whole)


def test_another_number_of_images_is_refused_though_it_makes_as_many_pairs(cfg: Config, whole: Path) -> None:
    cfg.train_dataloader.dataset.indices = NUM_IMAGES - 1
    with pytest.raises(ValueError, match=r"were begun with other settings \(num_images 9, now 8; images "):
        make(cfg, whole)


def test_images_prepared_otherwise_are_refused(cfg: Config, whole: Path) -> None:
    cfg.train_dataloader.dataset.pipeline = [*cfg.pipeline, dict(type="mmpretrain.RandomFlip", prob=0.5)]
    with pytest.raises(ValueError, match=r"were begun with other settings \(images "):
        make(cfg, whole)


def test_config_that_trains_on_pairs_is_refused(cfg: Config, whole: Path, tmp_path: Path) -> None:
    cfg.train_dataloader.dataset = dict(type="seitpp.TokenPairDataset", store=str(whole))
    with pytest.raises(ValueError, match=r"trains TokenAdaptPretrain on TokenPairDataset; name one .* on images"):
        make(cfg, tmp_path / "pairs")


def test_fewer_images_than_a_group_are_refused(cfg: Config, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="9 images do not fill a group of 10; use a smaller group size"):
        make(cfg, tmp_path / "pairs", group_size=10)
    assert not (tmp_path / "pairs").exists()


def test_progress_is_told(cfg: Config, tmp_path: Path) -> None:
    told = []
    make(cfg, tmp_path / "pairs", advance=lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


class TestTool:
    SIZES = ("--group-size", "4", "--groups-per-part", "1")

    def test_it_makes_what_a_data_set_reads(
        self, tool: Callable, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        tool(TOOL, config, tmp_path / "pairs", *self.SIZES)
        assert "8 pairs in groups of 4" in capsys.readouterr().out
        assert TokenPairReader(tmp_path / "pairs").num_groups == 2
        header = json.loads((tmp_path / "pairs" / "pairs.json").read_text())
        assert [augment["type"] for augment in header["augments"]] == [augment["type"] for augment in AUGMENTS]

    def test_mistakes_are_one_line(self, tool: Callable, config: Path, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="9 images do not fill a group of 32"):
            tool(TOOL, config, tmp_path / "pairs")
        with pytest.raises(FileNotFoundError, match=r"nowhere\.npy does not exist"):
            tool(TOOL, config, "pairs", *self.SIZES, "--cfg-options", "model.tokenizer.codebook=nowhere.npy")

    @pytest.mark.parametrize("option", ["--epochs", "--group-size", "--groups-per-part"])
    def test_counts_are_at_least_one(self, tool: Callable, option: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            tool(TOOL, "config.py", "pairs", option, "0")
        assert f"argument {option}: '0' is no whole number from 1 on" in capsys.readouterr().err


@pytest.mark.slow
def test_two_real_processes_make_the_files_of_one(
    tool: Callable, spawn: Callable, config: Path, tmp_path: Path
) -> None:
    line = ["tools/make_token_pairs.py", config, tmp_path / "two", "--group-size", "2", "--groups-per-part", "1"]
    process = spawn("torchrun", "--nproc_per_node", "2", "--master_port", "29517", *line)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-5000:]
    tool(TOOL, config, tmp_path / "one", "--group-size", "2", "--groups-per-part", "1")
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_resumed_run_on_images_is_bit_identical(
    tiny: Callable, tool: Callable, leaf: Path, tmp_path: Path, assert_same_training: Callable
) -> None:
    config = tiny(leaf, edit=draw_while_loading, late=keep_all, epochs=2)
    tool("train.py", config, "--work-dir", tmp_path / "whole")
    line = ["--work-dir", tmp_path / "resumed", "--resume", tmp_path / "whole" / "epoch_1.pth"]
    tool("train.py", config, *line)
    assert_same_training(tmp_path / "whole" / "epoch_2.pth", tmp_path / "resumed" / "epoch_2.pth")
