"""`ImageDataset`: the pixels that tokenising takes, classes that are checked, and no image left out."""

import errno
import io
import pickle
import runpy
import tarfile
from collections.abc import Callable
from pathlib import Path

import mmengine
import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from seitpp.benchmarking.synthetic import make_codebook
from seitpp.datasets import ImageDataset
from seitpp.datasets.image_dataset import fitting_of
from seitpp.ingest import open_image_source
from seitpp.ingest.loading import Fitting, ImageBatches
from seitpp.storage import StoreWriter
from seitpp.tokenizers import ViTVQGAN

TOKENIZER = {"type": "seitpp.PatchKMeans", "image_size": [16, 24], "patch_size": 8}
FITTING = Fitting(image_size=(16, 24), resize_mode="exact", in_channels=3, stride=8)


def write_image(path: Path, seed: int, mode: str = "RGB", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(seed).integers(256, size=(20, 30, 3), dtype=np.uint8))
    image.convert(mode).save(path, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`val/CLASS/*.png` of three classes with 1, 2 and 3 images, and the same images as lists and a tar file."""
    folder = tmp_path_factory.mktemp("images")
    names, rows = ["ant", "bee", "cow"], []
    for label, name in enumerate(names):
        for number in range(label + 1):
            write_image(folder / "val" / name / f"{number}.png", seed=10 * label + number)
            rows.append((f"val/{name}/{number}.png", label))
    (folder / "list.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))
    (folder / "list.csv").write_text("path,label\n" + "".join(f"{path},{names[label]}\n" for path, label in rows))
    (folder / "classes.txt").write_text("cow\nbee\nant\ndog\n")
    with tarfile.open(folder / "images.tar", "w") as archive:
        for number, (path, label) in enumerate(rows):
            archive.add(folder / path, f"{number}.png")
            text = tarfile.TarInfo(f"{number}.cls")
            text.size = 1
            archive.addfile(text, io.BytesIO(str(label).encode()))
    return folder


@pytest.fixture
def data(folder: Path) -> Callable[..., ImageDataset]:
    """Makes the data set of the class folders."""

    def make(source: str = "val", **options: object) -> ImageDataset:
        return ImageDataset(source, TOKENIZER, data_root=str(folder), **options)

    return make


def test_batch_holds_the_pixels_that_tokenising_takes(data: Callable, folder: Path) -> None:
    batch = data().__getitems__([5, 0, 1])
    expected = ImageBatches(open_image_source(folder / "val"), FITTING).__getitems__([5, 0, 1])
    assert batch.keys() == {"images", "sample_idx", "gt_label"}
    assert batch["images"].dtype == torch.uint8 and batch["images"].shape == (3, 3, 16, 24)
    assert torch.equal(batch["images"], expected.pixels)
    assert (batch["sample_idx"].tolist(), batch["gt_label"].tolist()) == ([5, 0, 1], [2, 0, 1])
    assert batch["sample_idx"].dtype == batch["gt_label"].dtype == torch.int64


def test_what_is_known_of_the_data(data: Callable, folder: Path) -> None:
    dataset = data(lazy_init=True)
    assert not dataset._fully_initialized
    assert dataset.metainfo == {
        "classes": ["ant", "bee", "cow"],
        "image_size": [16, 24],
        "images_sha256": open_image_source(folder / "val").fingerprint(),
        "tokenizer": {"type": "PatchKMeans", "in_channels": 3},
    }
    assert data(metainfo=dict(classes=["a", "b", "c"])).metainfo["classes"] == ["a", "b", "c"]
    assert dataset.labels.tolist() == [0, 1, 1, 2, 2, 2] and dataset.labels.dtype == np.int64
    assert dataset.store_path == str(folder / "val")
    assert ImageDataset(str(folder), TOKENIZER, split="val").store_path == f"{folder} (val)"


@pytest.mark.parametrize("source", ["list.txt", "list.csv", "images.tar"])
def test_every_kind_of_source_gives_the_same_images(data: Callable, source: str) -> None:
    one, other = data().__getitems__(range(6)), data(source).__getitems__(range(6))
    for key in one:
        assert torch.equal(one[key], other[key]), key


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_through_a_runner_s_loader(folder: Path, workers: int) -> None:
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=workers,
            dataset=dict(type="seitpp.ImageDataset", source="val", data_root=str(folder), tokenizer=TOKENIZER),
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="seitpp.identity_collate"),
        )
    )
    batches = list(loader)
    assert [batch["sample_idx"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5]]
    whole = loader.dataset.__getitems__(range(6))
    assert torch.equal(torch.cat([batch["images"] for batch in batches]), whole["images"])


def test_data_set_can_be_sent_to_a_process(data: Callable) -> None:
    dataset = data()
    other = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(other.__getitems__([3])["images"], dataset.__getitems__([3])["images"])


def test_unlabelled_images(data: Callable) -> None:
    dataset = data(unlabelled=True)
    assert dataset.labels is None and dataset.metainfo["classes"] is None
    assert dataset.__getitems__([0]).keys() == {"images", "sample_idx"}
    assert dataset.get_data_info(0) == {"sample_idx": 0, "img_path": "ant/0.png"}
    with pytest.raises(ValueError, match="val has no labels, so its samples have no category"):
        dataset.get_cat_ids(0)


@pytest.mark.parametrize(("indices", "places"), [(2, [0, 1]), (-2, [4, 5]), ([4, 0], [4, 0])])
def test_some_of_the_images(data: Callable, indices: int | list[int], places: list[int]) -> None:
    whole = data()
    in_place = data()
    in_place.get_subset_(indices)
    for part in (data(indices=indices), whole.get_subset(indices), in_place):
        assert len(part) == 2
        batch = part.__getitems__([0, 1])
        assert torch.equal(batch["images"], whole.__getitems__(places)["images"])
        assert batch["sample_idx"].tolist() == [0, 1]
        assert batch["gt_label"].tolist() == part.labels.tolist() == whole.labels[places].tolist()
        assert part.get_cat_ids(1) == [whole.labels[places[1]]]
    assert len(whole) == 6


def test_one_sample(data: Callable) -> None:
    dataset = data()
    sample, batch = dataset[-1], dataset.__getitems__([5])
    assert {key: value.tolist() for key, value in sample.items()} == {key: batch[key][0].tolist() for key in batch}
    assert dataset.get_data_info(-1) == {"sample_idx": 5, "img_path": "cow/2.png", "gt_label": 2}
    with pytest.raises(IndexError, match="sample 6 of a data set of 6"):
        dataset[6]


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("grey.png", "L", {}),
        ("palette.gif", "P", {}),
        ("cmyk.jpg", "CMYK", {"quality": 95}),
        ("alpha.png", "RGBA", {}),
        ("upright.jpg", "RGB", {"exif": Image.Exif()}),
    ],
)
def test_images_of_every_mode_are_read_as_in_tokenising(tmp_path: Path, name: str, mode: str, options: dict) -> None:
    if "exif" in options:
        options["exif"][0x0112] = 6  # to be turned by 90 degrees
    write_image(tmp_path / name, 0, mode, **options)
    (pixels,) = ImageDataset(str(tmp_path), TOKENIZER).__getitems__([0])["images"]
    expected = ImageBatches(open_image_source(tmp_path), FITTING).__getitems__([0])
    assert expected.readable.all() and torch.equal(pixels, expected.pixels[0])
    if "exif" in options:
        with Image.open(tmp_path / name) as image:
            turned = image.transpose(Image.Transpose.ROTATE_270).resize((24, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(pixels, np.asarray(turned).transpose(2, 0, 1))


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_image_ends_the_test(tmp_path: Path, workers: int) -> None:
    for number in range(3):
        write_image(tmp_path / "ant" / f"{number}.png", seed=number)
    content = (tmp_path / "ant" / "1.png").read_bytes()
    (tmp_path / "ant" / "1.png").write_bytes(content[:500])
    (tmp_path / "ant" / "2.png").write_text("no image")
    dataset = ImageDataset(str(tmp_path), TOKENIZER)
    assert len(dataset.__getitems__([0])["images"]) == 1
    loader = torch.utils.data.DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=lambda batch: batch)
    with pytest.raises(ValueError, match=r"cannot read ant/1\.png: .*truncated.*, ant/2\.png: .*no known image format"):
        list(loader)


def test_unreadable_images_are_replaced_where_that_is_wanted(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    for name, grey in (("a", 10), ("b", 20)):
        Image.new("RGB", (16, 16), (grey,) * 3).save(tmp_path / name / "0.png")
    (tmp_path / "c" / "0.png").write_bytes(b"no image")
    dataset = ImageDataset(str(tmp_path), TOKENIZER, replace_unreadable=True)
    batch = dataset.__getitems__([2, 1, 0])
    assert batch["images"][:, 0, 0, 0].tolist() == [20, 20, 10] and batch["gt_label"].tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match=r"cannot read c/0\.png"):
        dataset.__getitems__([2])


def test_outage_is_not_blamed_on_an_image(data: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = data()

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(type(dataset._batches.source), "read", fail)
    with pytest.raises(OSError, match=r"val: ant/0\.png cannot be read at present: Too many open files"):
        dataset.__getitems__([0])


def test_order_of_classes_is_that_of_a_file(data: Callable) -> None:
    dataset = data(classes_file="classes.txt")
    assert dataset.metainfo["classes"] == ["cow", "bee", "ant", "dog"]
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 2]


def test_label_maps_are_no_classes(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "val" / "0.png", 0)
    write_image(tmp_path / "annotations" / "val" / "0.png", 0, "L")
    with pytest.raises(ValueError, match=r"\(val\) has label maps; ImageDataset reads images with a class or without"):
        ImageDataset(str(tmp_path), TOKENIZER, split="val")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; expected images"):
        ImageDataset(str(tmp_path / "nowhere"), TOKENIZER)


@pytest.mark.parametrize("name", ["seit_vitvqgan", "vqgan_f16_1024", "patch_kmeans_8px_k512", "block_dct_q50"])
def test_size_of_images_needs_no_weights(repository: Path, name: str) -> None:
    config = Config.fromfile(repository / "configs" / "tokenizers" / f"{name}.py").tokenizer
    before = torch.random.get_rng_state()
    fitting = fitting_of(config)
    mode, stride = ("center-crop", 16) if name.startswith("vqgan") else ("exact", 8)
    resize = "taming" if name.startswith("vqgan") else "bicubic"
    assert fitting == Fitting((256, 256), mode, 3, stride, resize=resize)
    assert torch.equal(torch.random.get_rng_state(), before)


def write_store(path: Path, tokenizer: dict) -> Path:
    options = dict(codebook_size=4, grid=(4, 4), tokenizer=tokenizer, codebook=make_codebook(4, 8))
    with StoreWriter(path, **options) as writer:
        writer.append(np.zeros((1, 4, 4), int))
    return path


def test_size_of_images_from_a_store_whose_weights_are_elsewhere(tmp_path: Path) -> None:
    stack = {"dims": 16, "depth": 1, "num_heads": 2, "mlp_dims": 16}
    sizes = dict(code_dim=8, image_size=(32, 40), patch_size=4, in_channels=1, resize_mode="center-crop")
    tokenizer = ViTVQGAN({"encoder": stack, "decoder": stack}, 8, code_subset=[1, 5, 3, 2], **sizes)
    facts = {**tokenizer.eval().describe(), "checkpoint": "not-here.pth", "spatial": False}
    assert fitting_of(write_store(tmp_path / "store", facts)) == Fitting((32, 40), "center-crop", 1, 4)


def test_imported_store_does_not_tell_the_size_of_images(tmp_path: Path, folder: Path) -> None:
    store = write_store(tmp_path / "imported", {"name": "vit-vqgan"})
    with pytest.raises(ValueError, match=r"imported does not say which tokenizer made it \('vit-vqgan'\).*config$"):
        ImageDataset(str(folder / "val"), str(store))


def test_mmpretrains_analysis_of_results_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It passes an empty pipeline, asks for `CLASSES`, and opens images by name where it is started."""
    dataset = dict(type="seitpp.ImageDataset", source=str(folder / "val"), tokenizer=TOKENIZER)
    Config({"default_scope": "seitpp", "test_dataloader": {"dataset": dataset}}).dump(tmp_path / "config.py")
    scores = torch.eye(3)
    results = [
        dict(sample_idx=place, gt_label=torch.tensor([2]), pred_label=torch.tensor([label]), pred_score=scores[label])
        for place, label in ((3, 2), (4, 1))
    ]
    mmengine.dump(results, tmp_path / "results.pkl")
    monkeypatch.chdir(folder / "val")
    line = [str(tmp_path / "config.py"), str(tmp_path / "results.pkl"), "--out-dir", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["analyze_results.py", *line])
    tool = Path(mmpretrain.__file__).parent / ".mim" / "tools" / "analysis_tools" / "analyze_results.py"
    runpy.run_path(str(tool), run_name="__main__")
    assert [path.name for path in sorted((tmp_path / "out").glob("*/*.png"))] == ["1.png.png", "0.png.png"]


def test_pipeline_with_steps_is_refused(data: Callable) -> None:
    assert data(pipeline=[]).CLASSES == ["ant", "bee", "cow"]
    with pytest.raises(ValueError, match=r"pipeline has 1 steps, .*; leave it out, and name augmentations in data_pre"):
        data(pipeline=[dict(type="LoadImageFromFile")])
