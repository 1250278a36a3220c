"""`TokenSegDataset`: label maps beside their tokens, names and colours of classes, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.datasets import ADE20KDataset
from PIL import Image

from seitpp.benchmarking.synthetic import make_release, make_store
from seitpp.datasets import TokenSegDataset
from seitpp.storage import StoreReader, StoreWriter

CLASSES = ["sky", "tree", "house"]


def maps_of(num_samples: int, sizes: tuple[tuple[int, int], ...] = ((6, 8),)) -> list[np.ndarray]:
    """Label maps of three classes and ignored pixels, of the given sizes in turn."""
    rng = np.random.default_rng(5)
    values = np.array([0, 1, 2, 255], np.uint8)
    return [values[rng.integers(4, size=sizes[number % len(sizes)])] for number in range(num_samples)]


@pytest.fixture
def store(tmp_path: Path) -> Callable[..., Path]:
    """Writes a store of 3 x 4 codes whose samples number from 0 in all their codes, with the given label maps."""

    def write(
        maps: list[np.ndarray], classes: list[str] | None = CLASSES, shifted: bool = False, kind: str = "segmentation"
    ) -> Path:
        path = tmp_path / "store"
        source = {"label_maps": {"size": "kept", "reduce_zero_label": shifted}}
        options = {"codebook_size": 300, "grid": (3, 4), "tokenizer": {"name": "toy"}, "source": source}
        with StoreWriter(path, label_kind=kind, classes=classes, **options) as writer:
            writer.append(np.arange(len(maps))[:, None, None] + np.zeros((3, 4), int))
        (path / "labels").mkdir()
        for number, labels in enumerate(maps):
            Image.fromarray(labels).save(path / "labels" / f"{number:08d}.png")
        return path

    return write


def test_a_batch_has_codes_and_label_maps_of_the_same_samples(store: Callable) -> None:
    maps = maps_of(7)
    path = store(maps)
    batch = TokenSegDataset("store", data_root=str(path.parent)).__getitems__([4, 1, 4])
    assert list(batch) == ["inputs", "data_samples"]
    assert batch["inputs"].dtype == torch.uint16
    np.testing.assert_array_equal(batch["inputs"], np.array([4, 1, 4])[:, None, None] + np.zeros((3, 4)))
    for sample, place in zip(batch["data_samples"], [4, 1, 4], strict=True):
        assert sample.gt_sem_seg.data.dtype == torch.uint8
        np.testing.assert_array_equal(sample.gt_sem_seg.data, maps[place][None])
        assert sample.metainfo == {
            "sample_idx": place,
            "store_index": place,
            "img_shape": (6, 8),
            "ori_shape": (6, 8),
            "img_path": f"{path}/{place:08d}",
            "seg_map_path": f"{path}/labels/{place:08d}.png",
            "reduce_zero_label": False,
        }


def test_one_sample_equals_its_place_in_a_batch(store: Callable) -> None:
    dataset = TokenSegDataset(str(store(maps_of(3))))
    sample = dataset[-1]
    assert (sample["inputs"] == 2).all()
    assert sample["data_samples"].sample_idx == 2
    with pytest.raises(IndexError, match="sample 3 of a data set of 3"):
        dataset[3]


def test_label_maps_of_other_sizes_keep_them(store: Callable) -> None:
    maps = maps_of(2, ((6, 8), (5, 9)))
    first, second = TokenSegDataset(str(store(maps))).__getitems__([0, 1])["data_samples"]
    assert first.ori_shape == (6, 8)
    assert second.ori_shape == second.img_shape == (5, 9)
    np.testing.assert_array_equal(second.gt_sem_seg.data[0], maps[1])


def test_label_maps_of_other_sizes_can_be_brought_to_one(store: Callable) -> None:
    maps = maps_of(2, ((3, 4), (12, 16)))
    dataset = TokenSegDataset(str(store(maps)), label_size=[6, 8])
    first, second = dataset.__getitems__([0, 1])["data_samples"]
    assert first.ori_shape == second.img_shape == (6, 8)
    np.testing.assert_array_equal(first.gt_sem_seg.data[0], maps[0].repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(second.gt_sem_seg.data[0], maps[1][1::2, 1::2])
    assert dataset.metainfo["label_maps"]["size"] == [6, 8]
    with pytest.raises(ValueError, match=r"label_size is \(8,\), expected a height and a width in pixels"):
        TokenSegDataset("store", label_size=[8])


def test_a_subset_takes_its_own_label_maps(store: Callable) -> None:
    maps = maps_of(20)
    dataset = TokenSegDataset(str(store(maps)), subset={"count": 3, "seed": 1}, keep_length=True)
    assert len(dataset) == 20
    assert dataset.metainfo["subset"]["class_balanced"] is False
    batch = dataset.__getitems__([0, 1, 2, 3])
    places = batch["inputs"][:, 0, 0].long().tolist()
    assert len(set(places)) == 3
    assert places[3] == places[0]
    for sample, place in zip(batch["data_samples"], places, strict=True):
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], maps[place])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loaders_of_the_runner_decode_in_their_processes(store: Callable, num_workers: int) -> None:
    maps = maps_of(5)
    cfg = Config(
        dict(
            dataset=dict(type="seitpp.TokenSegDataset", store=str(store(maps))),
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="seitpp.identity_collate"),
            batch_size=3,
            num_workers=num_workers,
        )
    )
    samples = [sample for batch in Runner.build_dataloader(cfg) for sample in batch["data_samples"]]
    assert [sample.sample_idx for sample in samples] == [0, 1, 2, 3, 4]
    for sample, labels in zip(samples, maps, strict=True):
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0], labels)


# Classes


def test_classes_are_those_of_the_store_with_colours_of_their_own(store: Callable) -> None:
    info = TokenSegDataset(str(store(maps_of(1), shifted=True))).metainfo
    assert info["classes"] == CLASSES
    assert info["label_ignore_index"] == 255
    assert info["label_maps"] == {"size": "kept", "reduce_zero_label": True}
    assert info["codebook_size"] == 300
    assert info["grid"] == [3, 4]
    assert len({tuple(colour) for colour in info["palette"]}) == 3
    assert all(0 <= value <= 255 for colour in info["palette"] for value in colour)


def test_preset_brings_the_names_and_colours_of_mmseg(store: Callable) -> None:
    info = TokenSegDataset(str(store(maps_of(1), classes=None)), preset="ade20k").metainfo
    assert info["classes"] == list(ADE20KDataset.METAINFO["classes"])
    assert info["palette"] == ADE20KDataset.METAINFO["palette"]


def test_names_and_colours_of_the_config_come_first(store: Callable) -> None:
    given = {"classes": ["a", "b", "c"], "palette": [[1, 2, 3], [4, 5, 6], [7, 8, 9]]}
    info = TokenSegDataset(str(store(maps_of(1))), metainfo=given).metainfo
    assert {key: info[key] for key in given} == given


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        (None, {}, r"store does not name its classes; give metainfo=dict\(classes=\[...\]\), preset='ade20k'"),
        (CLASSES, {"preset": "ade20k"}, r"store: 3 classes, but 150 classes of preset 'ade20k'"),
        (CLASSES, {"metainfo": {"classes": ["a"]}}, "store: 1 classes, but 3 class names in the store"),
        (CLASSES, {"metainfo": {"palette": [[0, 0, 0]]}}, "store: 3 classes, but 1 colours in the palette"),
        (None, {"preset": "ade"}, None),
        (None, {"preset": "mnist"}, r"preset is 'mnist', expected a set whose classes mmseg knows: .* ade20k, "),
        ([str(n) for n in range(256)], {}, "has 256 classes, expected at most 255: 255 in a label map means ignore"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    store: Callable, classes: list[str] | None, options: dict, message: str | None
) -> None:
    path = str(store(maps_of(1), classes=classes))
    if message is None:
        assert len(TokenSegDataset(path, **options).metainfo["classes"]) == 150
        return
    with pytest.raises(ValueError, match=message):
        TokenSegDataset(path, **options)


# Values


@pytest.mark.parametrize("ignore", [255, 65535])
def test_sixteen_bits_become_eight(store: Callable, ignore: int) -> None:
    dataset = TokenSegDataset(str(store([np.array([[0, 2, ignore]], np.uint16)])))
    labels = dataset[0]["data_samples"].gt_sem_seg.data
    assert labels.dtype == torch.uint8
    assert labels.tolist() == [[[0, 2, 255]]]


@pytest.mark.parametrize(
    ("values", "shifted", "looks_unshifted"),
    [([0, 1, 3], False, True), ([0, 1, 3], True, False), ([1, 3], False, False), ([0, 4], False, False)],
)
def test_a_value_that_is_no_class_is_refused(
    store: Callable, values: list[int], shifted: bool, looks_unshifted: bool
) -> None:
    dataset = TokenSegDataset(str(store([*maps_of(1), np.array([values], np.uint8)], shifted=shifted)))
    dataset[0]
    expected = rf"labels/00000001.png has the label {values[-1]}, expected 0 to 2 for 3 classes, or 255 for pixels to"
    with pytest.raises(ValueError, match=expected) as error:
        dataset[1]
    assert ("make the store again with --reduce-zero-label" in str(error.value)) == looks_unshifted


@pytest.mark.parametrize(
    ("shifted", "message"),
    [
        (True, "was made with --reduce-zero-label, and shifting its labels again would lose a class"),
        (False, "labels are shifted once, when a store is made; make .* again with --reduce-zero-label"),
    ],
)
def test_labels_are_not_shifted_here(store: Callable, shifted: bool, message: str) -> None:
    path = str(store(maps_of(1), shifted=shifted))
    with pytest.raises(ValueError, match=message):
        TokenSegDataset(path, reduce_zero_label=True)


# Files


def test_missing_label_map_is_named(store: Callable) -> None:
    path = store(maps_of(3))
    (path / "labels" / "00000001.png").unlink()
    with pytest.raises(ValueError, match=r"labels lacks the label maps of 1 of 3 samples, such as 00000001.png"):
        TokenSegDataset(str(path))


def test_label_map_without_a_sample_is_named(store: Callable) -> None:
    path = store(maps_of(3))
    Image.new("L", (2, 2)).save(path / "labels" / "00000003.png")
    with pytest.raises(ValueError, match=r"labels has 1 label maps without a sample, such as 00000003.png, .* 3 samp"):
        TokenSegDataset(str(path))


def test_missing_folder_is_named(store: Callable) -> None:
    path = store(maps_of(1))
    (path / "labels").rename(path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"store/labels is missing: copy the label maps along"):
        TokenSegDataset(str(path))


def test_errors_come_again_at_the_next_use(store: Callable) -> None:
    path = store(maps_of(1))
    (path / "labels" / "00000000.png").unlink()
    dataset = TokenSegDataset(str(path), lazy_init=True)
    for _ in range(2):
        with pytest.raises(ValueError, match="lacks the label maps of 1 of 1 samples"):
            len(dataset)


def test_colours_and_damage_are_named(store: Callable) -> None:
    path = store(maps_of(2))
    Image.new("RGB", (2, 2)).save(path / "labels" / "00000000.png")
    (path / "labels" / "00000001.png").write_bytes(b"half")
    dataset = TokenSegDataset(str(path))
    with pytest.raises(ValueError, match=r"00000000.png has mode RGB where grey class indices are .* map each colour"):
        dataset[0]
    with pytest.raises(ValueError, match=r"00000001.png cannot be read .*; copy or make the store again"):
        dataset[1]


def test_other_data_are_refused(tmp_path: Path) -> None:
    make_store(tmp_path / "classes", num_samples=2, grid=(2, 2), codebook_size=8)
    with pytest.raises(ValueError, match="labels of kind 'class', expected 'segmentation': a store that"):
        TokenSegDataset(str(tmp_path / "classes"))
    make_release(tmp_path / "toy", num_samples=2)
    with pytest.raises(ValueError, match="is a release file, which has no label maps; expected a token store"):
        TokenSegDataset(str(tmp_path / "toy-token.data.bin.gz"))


def test_store_of_tokenize_images_is_read(tmp_path: Path, repository: Path, tool: Callable[..., int]) -> None:
    """ADE20k's layout: 0 becomes ignore, k becomes k - 1, once, and images of any size one grid."""
    for number, size in enumerate([(40, 24), (24, 40)]):
        for kind, mode, value in (("images", "RGB", (9, 99, 200)), ("annotations", "L", number + 1)):
            path = tmp_path / "ade" / kind / "training" / f"{number}.{'jpg' if mode == 'RGB' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.new(mode, size, value)
            image.paste(0, (0, 0, size[0] // 2, size[1]))
            image.save(path)
    np.save(tmp_path / "codebook.npy", np.random.default_rng(0).random((16, 48), np.float32))
    config = repository / "configs" / "tokenizers" / "patch_kmeans_4px_k256_scenes-fitted.py"
    line = [
        config,
        tmp_path / "ade",
        tmp_path / "store",
        "--split",
        "training",
        "--reduce-zero-label",
        "--workers",
        "0",
    ]
    options = [f"tokenizer.codebook={tmp_path / 'codebook.npy'}", "tokenizer.image_size=16"]
    assert tool("tokenize_images.py", *line, "--label-size", "8", "8", "--cfg-options", *options) == 0
    batch = TokenSegDataset(str(tmp_path / "store"), preset="ade20k").__getitems__([0, 1])
    assert batch["inputs"].shape == (2, 4, 4)
    for number, sample in enumerate(batch["data_samples"]):
        assert sample.gt_sem_seg.data.tolist() == [[[255] * 4 + [number] * 4] * 8]
    assert StoreReader(tmp_path / "store").header["source"]["label_maps"] == {
        "size": [8, 8],
        "reduce_zero_label": True,
    }
