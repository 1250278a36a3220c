"""A drawn part of a data set of images: which samples, how long, and what is refused."""

from pathlib import Path

import pytest

from seitpp.benchmarking.synthetic import make_images
from seitpp.datasets import SubsetDataset
from seitpp.registry import DATASETS


@pytest.fixture
def images(tmp_path: Path) -> dict:
    folder = make_images(tmp_path / "images", 10, 8)
    return dict(type="mmpretrain.CustomDataset", data_root=str(folder), with_label=False, pipeline=[])


def test_samples_are_distinct_and_the_same_for_the_same_seed(images: dict) -> None:
    first, again, other = (SubsetDataset(images, count=4, seed=seed) for seed in (0, 0, 1))
    paths = [first[place]["img_path"] for place in range(len(first))]
    assert len(first) == len(set(paths)) == 4
    assert first.places.tolist() == again.places.tolist() != other.places.tolist()
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
