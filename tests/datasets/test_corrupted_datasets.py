"""Corruption, border and benchmark in both data sets of images: the same noise for an image however it is reached."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from helpers.benchmark_trees import imagenet_classes, objectnet
from seitpp.datasets import ImageDataset, PixelDataset
from seitpp.datasets.source_dataset import SourceDataset
from seitpp.images.corruptions import Corruption
from seitpp.ingest import open_image_source
from seitpp.ingest.sources.benchmarks import open_benchmark

SIZE = (16, 24)
TOKENIZER = {"type": "seitpp.PatchKMeans", "image_size": list(SIZE), "patch_size": 8}
PIPELINE = [dict(type="PackInputs")]
RESIZING = [dict(type="Resize", scale=SIZE[::-1], backend="pillow", interpolation="bicubic"), *PIPELINE]
NOISE = dict(kind="gaussian_noise", severity=3, seed=5)

Make = Callable[..., SourceDataset]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of the tokenizer's size, in two classes; one is grey."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for number in range(7):
        path = folder / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        image = Image.fromarray(random.integers(60, 196, size=(*SIZE, 3), dtype=np.uint8))
        (image.convert("L") if number == 3 else image).save(path)
    return folder


def tokens(folder: Path, **options: object) -> ImageDataset:
    return ImageDataset(str(folder), TOKENIZER, **options)


def pixels(folder: Path, pipeline: list = PIPELINE, **options: object) -> PixelDataset:
    return PixelDataset(str(folder), pipeline, **options)


@pytest.fixture(params=[tokens, pixels])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes either data set."""
    return request.param


def images_of(dataset: SourceDataset, indices: Sequence[int]) -> torch.Tensor:
    """The images of some samples, (B, C, H, W), uint8, RGB."""
    indices = list(indices)
    return as_images(
        dataset.__getitems__(indices) if isinstance(dataset, ImageDataset) else [dataset[index] for index in indices]
    )


def as_images(batch: object) -> torch.Tensor:
    if isinstance(batch, dict):
        return batch["images"]
    return torch.stack([sample["inputs"].flip(0) for sample in batch])


@pytest.mark.parametrize("corruption", [NOISE, dict(kind="gaussian_blur", severity=1)])
def test_images_are_corrupted_by_their_number(make: Make, folder: Path, corruption: dict) -> None:
    clean, changed = images_of(make(folder), range(7)), images_of(make(folder, corruption=corruption), range(7))
    for number in range(7):
        expected = Corruption(**corruption).apply(clean[number].numpy(), number)
        np.testing.assert_array_equal(changed[number], expected)


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (0, 3), (2, 2)])
def test_noise_does_not_depend_on_how_it_is_loaded(make: Make, folder: Path, workers: int, batch_size: int) -> None:
    dataset = make(folder, corruption=NOISE)
    expected = images_of(dataset, range(7))
    order = [5, 0, 6, 2, 3, 1, 4]
    loader = DataLoader(dataset, batch_size, sampler=order, num_workers=workers, collate_fn=as_images)
    np.random.seed(3)
    assert torch.equal(torch.cat(list(loader)), expected[order])
    part = make(folder, corruption=NOISE, indices=[6, 2])
    assert torch.equal(images_of(part, [0, 1]), expected[[6, 2]])
    assert torch.equal(images_of(dataset.get_subset([4, 3]), [1, 0]), expected[[3, 4]])


@pytest.mark.parametrize("other", [dict(NOISE, severity=4), dict(NOISE, seed=6), None])
def test_other_noise_for_another_severity_or_seed(make: Make, folder: Path, other: dict | None) -> None:
    one, two = (images_of(make(folder, corruption=options), [2]) for options in (NOISE, other))
    assert (one != two).float().mean() > 0.9


@pytest.mark.parametrize("corruption", [None, NOISE, dict(NOISE, order="imagenet-c")])
def test_both_data_sets_give_the_same_images(folder: Path, corruption: dict | None) -> None:
    one = images_of(tokens(folder, corruption=corruption), range(7))
    other = images_of(pixels(folder, RESIZING, corruption=corruption), range(7))
    assert one.shape == (7, 3, *SIZE) and torch.equal(one, other)


def test_crop_of_imagenet_c_reaches_the_network_whole(folder: Path) -> None:
    """A pipeline that crops tells the size, and does not cut the crop once more."""
    crops = [dict(type="ResizeEdge", scale=20), dict(type="CenterCrop", crop_size=16), *PIPELINE]
    corruption = dict(NOISE, order="imagenet-c")
    (found,) = images_of(pixels(folder, crops, corruption=corruption), [4])
    image, _ = open_image_source(folder).load(4, 3)
    expected = Corruption(**corruption).apply_to_crop(image, 4).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(expected).transpose(2, 0, 1))


def test_strip_that_has_no_crop_is_named(make: Make, tmp_path: Path) -> None:
    Image.new("RGB", (20000, 10)).save(tmp_path / "long.png")
    images_of(make(tmp_path), [0])
    with pytest.raises(ValueError, match=r"long\.png.*it has 20000 x 10 pixels, too long a strip"):
        images_of(make(tmp_path, corruption=dict(NOISE, order="imagenet-c")), [0])


def test_border_is_cut_before_anything_else(make: Make, tmp_path: Path, folder: Path) -> None:
    random = np.random.default_rng(1)
    inner = random.integers(256, size=(*SIZE, 3), dtype=np.uint8)
    framed = np.pad(inner, [(2, 2), (2, 2), (0, 0)], constant_values=255)
    Image.fromarray(framed).save(tmp_path / "0.png")
    (clean,) = images_of(make(tmp_path, border=2), [0])
    np.testing.assert_array_equal(clean, inner.transpose(2, 0, 1))
    (noisy,) = images_of(make(tmp_path, border=2, corruption=NOISE), [0])
    np.testing.assert_array_equal(noisy, Corruption(**NOISE).apply(clean.numpy(), 0))
    with pytest.raises(ValueError, match=r"0\.png.*it has 28 x 20 pixels, of which a border of 10 leaves nothing"):
        images_of(make(tmp_path, border=10), [0])


def test_what_is_known_of_a_changed_data_set(make: Make, folder: Path) -> None:
    plain, changed = make(folder).metainfo, make(folder, border=1, corruption=NOISE).metainfo
    said = {"border": 1, "corruption": {**NOISE, "order": "input"}}
    assert changed == {**plain, **said}
    assert plain["classes"] == ["class0", "class1"] and not {"border", "label_sets"} & plain.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(corruption=dict(kind="gaussian_noise")), "corruption is .*: missing a required argument: 'severity'"),
        (dict(corruption=dict(NOISE, strength=2)), "corruption is .*: got an unexpected keyword argument 'strength'"),
        (dict(corruption=dict(NOISE, severity=6)), "corruption severity is 6"),
        (dict(corruption="gaussian_noise"), "corruption is 'gaussian_noise', expected a dict of options"),
        (dict(corruption=dict(NOISE, kind=["gaussian_noise"])), r"corruption kind is \['gaussian_noise'\], expected"),
        (dict(benchmark="objectnet"), "benchmark is 'objectnet', expected a dict of options"),
        (dict(benchmark=dict(classes=["a"])), "benchmark is .*: missing a required .*argument: 'name'"),
        (
            dict(benchmark=dict(name="folders", path=".")),
            "benchmark is .*: .*got multiple values for .*argument 'path'",
        ),
        (dict(border=-1), "border is -1, expected a number of pixels from 0"),
        (dict(border=1.5), "border is 1.5"),
    ],
)
def test_options_that_there_are_not(make: Make, folder: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(folder, **options)


def test_benchmark_says_what_counts_as_right(make: Make, tmp_path: Path) -> None:
    """Its border is cut unless another is given, and its rule is known with the data."""
    benchmark = dict(name="objectnet", classes=imagenet_classes())
    root = objectnet(tmp_path, size=20)
    dataset = make(root, benchmark=benchmark, max_pixels=400, indices=[2])
    known = dataset.metainfo
    source = open_benchmark(str(root), **benchmark)
    assert known.items() >= dict(benchmark="objectnet", border=2, label_sets=source.label_sets).items()
    assert known.items() >= dict(convention=source.convention, num_expected=18574, num_left_out=2).items()
    assert known["classes"] == source.classes and known["remarks"] == source.remarks
    (found,), (whole,) = (images_of(make(root, benchmark=benchmark, border=border), [2]) for border in (None, 0))
    (cut,) = images_of(make(root / "images", indices=[4], border=2), [0])
    assert torch.equal(found, cut) and not torch.equal(whole, cut[..., : whole.shape[-2], : whole.shape[-1]])
    assert dataset.get_data_info(0)["gt_label"] == dataset.labels[0] == source.labels[2]


def test_options_of_reading_reach_a_benchmark(make: Make, folder: Path) -> None:
    benchmark = dict(name="folders", classes=["class0", "class1", "class2"], subset=True)
    dataset = make(folder.parent, benchmark=benchmark, split=folder.name, max_pixels=10)
    with pytest.raises(ValueError, match=r"more than .*10"):
        dataset[0]
    with pytest.raises(ValueError, match="is a benchmark, which is scored by its labels; leave unlabelled out"):
        make(folder, benchmark=benchmark, unlabelled=True)
