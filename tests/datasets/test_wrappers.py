"""Data sets that are joined, repeated and balanced are fetched by the batch and know labels, grid and origin."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset as SampleBalancedDataset
from mmengine.runner import Runner

from seitpp.benchmarking.synthetic import make_codebook, make_images
from seitpp.datasets import (
    ClassBalancedDataset,
    ConcatDataset,
    RepeatDataset,
    SubsetDataset,
    TokenDataset,
    num_shared,
    origins_of,
)
from seitpp.registry import DATASETS
from seitpp.storage import StoreWriter

NAMES = ["ant", "bee", "cow", "dog"]


def write_store(
    path: Path, labels: list[int] | None, seed: int, classes: list[str] | None = None, side: int = 4
) -> Path:
    rng = np.random.default_rng(seed)
    options = dict(codebook_size=8, grid=(side, side), tokenizer={"name": "none"}, codebook=make_codebook(8, 4))
    kind = "none" if labels is None else "class"
    with StoreWriter(path, **options, label_kind=kind, classes=None if labels is None else classes or NAMES) as writer:
        count = 6 if labels is None else len(labels)
        writer.append(rng.integers(0, 8, (count, side, side)), None if labels is None else np.array(labels))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    write_store(folder / "a", [0, 1, 2, 3, 0], seed=0)
    write_store(folder / "b", [3, 3, 3], seed=1)
    write_store(folder / "unlabelled", None, seed=2)
    write_store(folder / "other", [0, 1, 2, 3], seed=3, classes=["ant", "cow", "bee", "dog"])
    write_store(folder / "large", [0, 1, 2, 3], seed=4, side=8)
    return folder


def store(folder: Path, name: str, **options: object) -> dict:
    return dict(type="seitpp.TokenDataset", data_root=str(folder), store=name, **options)


def assert_fetches_as(dataset: object, expected: list[tuple[TokenDataset, int]]) -> None:
    """Any batch of the data set holds the samples that are named."""
    assert len(dataset) == len(expected)
    indices = np.random.default_rng(0).permutation(len(expected)).tolist()
    batch = dataset.__getitems__(indices)
    assert batch["sample_idx"].tolist() == indices
    for row, index in enumerate(indices):
        source, place = expected[index]
        one = source.__getitems__([place])
        assert torch.equal(batch["inputs"][row], one["inputs"][0])
        assert batch["gt_label"][row] == one["gt_label"][0]
        assert torch.equal(dataset[index]["inputs"], one["inputs"][0])
        assert dataset.get_cat_ids(index) == [int(one["gt_label"][0])]
        assert dataset.get_data_info(index)["store_index"] == source.get_data_info(place)["store_index"]


def test_joined(folder: Path) -> None:
    joined = DATASETS.build(dict(type="seitpp.ConcatDataset", datasets=[store(folder, "a"), store(folder, "b")]))
    first, second = joined.datasets
    assert_fetches_as(joined, [(first, place) for place in range(5)] + [(second, place) for place in range(3)])
    assert joined.labels.tolist() == [0, 1, 2, 3, 0, 3, 3, 3]
    assert joined.metainfo["classes"] == NAMES
    assert joined.metainfo["grid"] == [4, 4]
    assert [part["content_hash"] for part in joined.metainfo["parts"]] == [
        one.metainfo["content_hash"] for one in joined.datasets
    ]
    assert joined.store_path == f"{folder / 'a'} + {folder / 'b'}"
    assert joined[-1]["gt_label"] == 3
    for index in (8, -9):
        with pytest.raises(IndexError, match=f"sample {index} of a data set of 8"):
            joined[index]


def test_repeated_and_nested(folder: Path) -> None:
    inner = dict(type="seitpp.ConcatDataset", datasets=[store(folder, "a"), store(folder, "b")])
    repeated = pickle.loads(pickle.dumps(RepeatDataset(inner, times=3, lazy_init=True)))
    first, second = repeated.dataset.datasets
    once = [(first, place) for place in range(5)] + [(second, place) for place in range(3)]
    assert_fetches_as(repeated, 3 * once)
    assert repeated.metainfo["classes"] == NAMES


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_balanced_as_mmengine_does(folder: Path, threshold: float) -> None:
    plain = DATASETS.build(store(folder, "a"))
    balanced = ClassBalancedDataset(plain, threshold)
    expected = SampleBalancedDataset(plain, threshold).repeat_indices
    assert_fetches_as(balanced, [(plain, place) for place in expected])


def test_balanced_without_labels(folder: Path) -> None:
    with pytest.raises(ValueError, match="unlabelled has no labels, so its samples have no category"):
        ClassBalancedDataset(store(folder, "unlabelled"), 0.5)


def test_subset_of_a_store(folder: Path) -> None:
    subset = SubsetDataset(store(folder, "a"), count=2, keep_length=True)
    assert_fetches_as(subset, [(subset.dataset, subset.indices[place % 2]) for place in range(5)])
    assert subset.labels.tolist() == [subset.dataset.labels[place] for place in subset.indices]


def test_sample_by_sample_where_a_part_is(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 3, 8)
    config = dict(type="mmpretrain.CustomDataset", data_root=str(images), with_label=False, pipeline=[])
    joined = ConcatDataset([config, config])
    assert not hasattr(joined, "__getitems__")
    assert len(joined) == 6
    assert joined[4]["img_path"] == joined.datasets[1][1]["img_path"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("other", "other has another classes than .*: the same names in another order, of which class 1 is 'cow'"),
        ("large", r"large has another grid than .*a, and cannot be joined to it: \[8, 8\], not \[4, 4\]"),
    ],
)
def test_what_cannot_be_joined(folder: Path, other: str, message: str) -> None:
    parts = [store(folder, "a"), store(folder, other)]
    with pytest.raises(ValueError, match=message):
        ConcatDataset(parts)
    key = message.split()[3]
    assert len(ConcatDataset(parts, ignore_keys=key)) == 9


def test_labelled_with_unlabelled(folder: Path) -> None:
    joined = ConcatDataset([store(folder, "a"), store(folder, "unlabelled")], ignore_keys="classes")
    assert joined.labels is None
    with pytest.raises(ValueError, match="some of these have labels and some do not; join data of one kind"):
        joined.__getitems__([0, 9])


def test_wrong_options(folder: Path) -> None:
    with pytest.raises(ValueError, match="ConcatDataset has no data set to wrap"):
        ConcatDataset([])
    for times in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"times is .*, expected a positive whole number"):
            RepeatDataset(store(folder, "a"), times=times)


def test_shared_samples_are_counted(folder: Path) -> None:
    whole, other = DATASETS.build(store(folder, "a")), DATASETS.build(store(folder, "b"))
    part = DATASETS.build(store(folder, "a", indices=[1, 4]))
    joined = ConcatDataset([store(folder, "b"), store(folder, "a", indices=[4, 0, 2])])
    counts = [
        num_shared(origins_of(one), origins_of(two)) for one, two in ((whole, whole), (whole, part), (whole, other))
    ]
    assert counts == [5, 2, 0]
    assert num_shared(origins_of(part), origins_of(joined)) == 1
    assert num_shared(origins_of(RepeatDataset(part, times=3)), origins_of(whole)) == 2
    assert num_shared(None, origins_of(whole)) == 0


BASES = (
    "models/mtm-classifier_vit-tiny-p2.py",
    "datasets/digits_tokens.py",
    "schedules/finetune_adamw_8xb128-100e.py",
    "default_runtime.py",
)


@pytest.fixture
def config(repository: Path, folder: Path, tmp_path: Path) -> Config:
    """A tiny classifier, trained on two stores and tested on one of them."""
    bases = [str(repository / "configs" / "_base_" / name) for name in BASES]
    (tmp_path / "leaf.py").write_text(f"_base_ = {bases}\nwork_dir = {str(tmp_path / 'work_dir')!r}")
    cfg = Config.fromfile(tmp_path / "leaf.py")
    cfg.data_preprocessor = dict(
        type="seitpp.TokenDataPreprocessor", codebook=str(folder / "a"), num_classes=4, output="codes"
    )
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    cfg.model.backbone.update(arch=arch, codebook_size=8, grid_size=4, patch_size=2)
    cfg.model.head.update(num_classes=4, in_channels=16)
    cfg.train_dataloader.update(batch_size=4, drop_last=False, num_workers=0, persistent_workers=False)
    cfg.train_dataloader.dataset = dict(
        type="ConcatDataset",
        datasets=[store(folder, "a"), dict(type="RepeatDataset", times=2, dataset=store(folder, "b"))],
    )
    for name in ("val_dataloader", "test_dataloader"):
        cfg[name].update(num_workers=0, persistent_workers=False, dataset=store(folder, "b"))
    cfg.val_evaluator[0].topk = cfg.test_evaluator[0].topk = (1,)
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
    cfg.param_scheduler = None
    return cfg


def test_classifier_trains_on_joined_stores(
    config: Config, build_runner: Callable[[Config], Runner], tmp_path: Path
) -> None:
    runner = build_runner(config)
    runner.train()
    assert runner.iter == 3  # 5 + 2 x 3 samples, 4 at once
    (log,) = (tmp_path / "work_dir").glob("*/*.log")
    assert (
        f"3 samples of the validation data, {config.val_dataloader.dataset.data_root}/b, are among" in log.read_text()
    )


def test_wrapper_of_mmengine_names_ours(config: Config, build_runner: Callable, folder: Path) -> None:
    config.train_dataloader.dataset = dict(type="mmengine.RepeatDataset", times=2, dataset=store(folder, "a"))
    with pytest.raises(ValueError, match=r"RepeatDataset is fetched sample by sample, .* use seitpp\.RepeatDataset"):
        build_runner(config).train()


def test_wrapper_of_mmengine_trains_where_samples_are_collated(
    config: Config, build_runner: Callable, folder: Path
) -> None:
    config.train_dataloader.dataset = dict(type="mmengine.RepeatDataset", times=2, dataset=store(folder, "a"))
    config.train_dataloader.collate_fn = dict(type="default_collate")
    runner = build_runner(config)
    runner.train()
    assert runner.iter == 3
