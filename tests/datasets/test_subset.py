"""`choose_subset` and `SubsetDataset`: sizes, balance over classes, repeatability, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seitpp.benchmarking.synthetic import make_images
from seitpp.datasets import SubsetDataset
from seitpp.registry import DATASETS
from seitpp.storage import choose_subset

LABELS = np.repeat(np.arange(10), 20)


def choose(**options: object) -> np.ndarray:
    return choose_subset(len(LABELS), LABELS, 100.0, **options)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"fraction": 0.1}, 20),
        ({"fraction": 1.0}, 200),
        ({"count": 37}, 37),
        ({"budget_bytes": 3799}, 37),
        ({"budget_bytes": 3800}, 38),
    ],
)
def test_size(options: dict, size: int) -> None:
    chosen = choose(**options)
    assert len(chosen) == len(set(chosen.tolist())) == size
    assert (np.sort(chosen) == chosen).all()
    assert chosen.dtype == np.int64


@settings(max_examples=50, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_classes_differ_by_at_most_one_unless_exhausted(labels: list[int], share: float, seed: int) -> None:
    labels = np.array(labels)
    size = max(1, round(len(labels) * share))
    chosen = choose_subset(len(labels), labels, 1.0, count=size, seed=seed)
    taken, there = np.bincount(labels[chosen], minlength=6), np.bincount(labels, minlength=6)
    most = taken.max()
    assert ((taken >= most - 1) | (taken == there)).all()


@settings(max_examples=50, deadline=None)
@given(small=st.integers(1, 200), large=st.integers(1, 200), balanced=st.booleans(), seed=st.integers(0, 100))
def test_larger_subset_contains_the_smaller(small: int, large: int, balanced: bool, seed: int) -> None:
    small, large = sorted((small, large))
    options = {"class_balanced": balanced, "seed": seed}
    assert set(choose(count=small, **options)) <= set(choose(count=large, **options))


def test_same_seed_same_subset() -> None:
    np.testing.assert_array_equal(choose(count=50, seed=7), choose(count=50, seed=7))


def test_other_seed_other_subset() -> None:
    assert not np.array_equal(choose(count=50, seed=7), choose(count=50, seed=8))


def test_without_balance_classes_differ() -> None:
    counts = np.bincount(LABELS[choose(count=100, class_balanced=False)], minlength=10)
    assert counts.max() - counts.min() > 1


def test_without_labels_any_sample_may_come() -> None:
    assert len(choose_subset(200, None, 100.0, count=50)) == 50


def test_every_sample_is_equally_likely() -> None:
    hits = sum(np.bincount(choose(fraction=0.5, seed=seed), minlength=200) for seed in range(400))
    assert abs(hits / 400 - 0.5).max() < 5 * 0.5 / 400**0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"exactly one of fraction, count, budget_bytes; got none"),
        ({"count": 3, "fraction": 0.5}, r"exactly one of fraction, count, budget_bytes; got \['fraction', 'count'\]"),
        ({"count": 0}, "subset count=0 means 0 of 200 samples; it must be between 1 and all"),
        ({"budget_bytes": 99}, r"budget_bytes=99 means 0 of 200 samples \(100\.0 bytes each\)"),
        ({"count": 201}, r"subset count=201 means 201 of 200 samples"),
        ({"fraction": 1.5}, r"subset fraction=1\.5 means 300 of 200 samples"),
        ({"fraction": 0.001}, r"subset fraction=0\.001 means 0 of 200 samples"),
        ({"budget_bytes": 1e9}, r"budget_bytes=1000000000\.0 means 10000000 of 200 samples"),
    ],
)
def test_impossible_sizes_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(**options)


@pytest.fixture
def images(tmp_path: Path) -> dict:
    folder = make_images(tmp_path / "images", 10, 8)
    return dict(type="mmpretrain.CustomDataset", data_root=str(folder), with_label=False, pipeline=[])


def test_samples_are_distinct_and_the_same_for_the_same_seed(images: dict) -> None:
    first, again, other = (SubsetDataset(images, count=4, seed=seed) for seed in (0, 0, 1))
    paths = [first[place]["img_path"] for place in range(len(first))]
    assert len(first) == len(set(paths)) == 4
    assert first.indices.tolist() == again.indices.tolist() != other.indices.tolist()
    assert first.get_data_info(2)["img_path"] == paths[2]
    assert first.metainfo == {**first.dataset.metainfo, "subset": {"num_samples": 4, "seed": 0}}


def test_length_can_be_kept(images: dict) -> None:
    kept = DATASETS.build(dict(type="seitpp.SubsetDataset", dataset=images, fraction=0.3, keep_length=True))
    paths = [kept[place]["img_path"] for place in range(len(kept))]
    assert len(paths) == 10 and len(set(paths)) == 3
    assert max(map(paths.count, set(paths))) - min(map(paths.count, set(paths))) <= 1


def test_what_is_not_there_is_refused(images: dict) -> None:
    with pytest.raises(ValueError, match="subset count=11 means 11 of 10 samples"):
        SubsetDataset(images, count=11)
    with pytest.raises(ValueError, match="exactly one of fraction, count"):
        SubsetDataset(images)
    with pytest.raises(IndexError, match="sample 4 of a data set of 4"):
        SubsetDataset(images, count=4)[4]
