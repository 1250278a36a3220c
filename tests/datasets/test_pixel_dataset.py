"""`PixelDataset`: what mmcv's loading gives, from any of our sources, through mmpretrain's pipelines to its models."""

import errno
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import MODELS
from PIL import Image

from seitpp.datasets import ConcatDataset, PixelDataset
from seitpp.images.decoding import decode_image
from seitpp.registry import DATASETS

PACK = [dict(type="PackInputs")]
PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=20, edge="short", backend="pillow", interpolation="bicubic"),
    dict(type="CenterCrop", crop_size=16),
    dict(type="PackInputs"),
]
ARCH = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)
NOISE = dict(kind="gaussian_noise", severity=2)


def write_image(path: Path, seed: int, mode: str = "RGB", **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.random.default_rng(seed).integers(256, size=(20, 30, 3), dtype=np.uint8))
    image.convert(mode).save(path, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`val/CLASS/*.png` of three classes with 1, 2 and 3 images."""
    folder = tmp_path_factory.mktemp("images")
    for label, name in enumerate(["ant", "bee", "cow"]):
        for number in range(label + 1):
            write_image(folder / "val" / name / f"{number}.png", seed=10 * label + number)
    return folder


@pytest.fixture
def data(folder: Path) -> Callable[..., PixelDataset]:
    """Makes the data set of the class folders."""

    def make(source: str = "val", pipeline: list = PIPELINE, **options: object) -> PixelDataset:
        return PixelDataset(source, pipeline, data_root=str(folder), **options)

    return make


def test_samples_are_those_of_mmpretrain_s_own_data_set(data: Callable, folder: Path) -> None:
    ours, theirs = data(), CustomDataset(str(folder / "val"), pipeline=PIPELINE)
    assert len(ours) == len(theirs) == 6
    for place in range(6):
        one, other = ours[place], theirs[place]
        assert one.keys() == other.keys() and one["inputs"].dtype == torch.uint8
        assert torch.equal(one["inputs"], other["inputs"])
        assert torch.equal(one["data_samples"].gt_label, other["data_samples"].gt_label)
        assert one["data_samples"].metainfo == other["data_samples"].metainfo
    assert ours.metainfo["classes"] == list(theirs.metainfo["classes"])


@pytest.mark.parametrize("scope", ["seitpp", "mmpretrain", "mmengine"])
def test_steps_are_mmpretrain_s_in_any_scope(folder: Path, scope: str) -> None:
    init_default_scope(scope)
    inner = [dict(type="RandomFlip", prob=1.0, direction="horizontal")]
    pipeline = [dict(type="RandomApply", transforms=inner, prob=1.0), *PACK]
    flipped = DATASETS.build(dict(type="seitpp.PixelDataset", source=str(folder / "val"), pipeline=pipeline))
    plain = PixelDataset(str(folder / "val"), PACK)
    assert torch.equal(flipped[4]["inputs"], plain[4]["inputs"].flip(-1))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_classifier_scores_and_learns_batches_of_a_runner_s_loader(folder: Path, workers: int) -> None:
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=workers,
            dataset=dict(type="seitpp.PixelDataset", source="val", data_root=str(folder), pipeline=PIPELINE),
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
        )
    )
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="VisionTransformer", arch=ARCH, img_size=16, patch_size=8),
            head=dict(type="VisionTransformerClsHead", num_classes=3, in_channels=8),
            data_preprocessor=dict(mean=[120] * 3, std=[60] * 3, to_rgb=True),
        )
    )
    batches = list(loader)
    assert [len(batch["inputs"]) for batch in batches] == [4, 2]
    samples = [sample for batch in batches for sample in model.test_step(batch)]
    assert [sample.sample_idx for sample in samples] == list(range(6))
    assert [int(sample.gt_label) for sample in samples] == [0, 1, 1, 2, 2, 2]
    loss = model(**model.data_preprocessor(batches[0], True), mode="loss")["loss"]
    assert loss.requires_grad and loss.isfinite()


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("colour.jpg", "RGB", {}),
        ("grey.png", "L", {}),
        ("wide.png", "I;16", {}),
        ("palette.gif", "P", {}),
        ("cmyk.jpg", "CMYK", {"quality": 95}),
        ("alpha.png", "RGBA", {}),
        ("upright.jpg", "RGB", {"exif": Image.Exif()}),
    ],
)
def test_images_of_every_mode_are_read_as_everywhere_here(tmp_path: Path, name: str, mode: str, options: dict) -> None:
    if "exif" in options:
        options["exif"][0x0112] = 6  # to be turned by 90 degrees
    write_image(tmp_path / name, 0, mode, **options)
    sample = PixelDataset(str(tmp_path), PACK)[0]
    expected = np.asarray(decode_image((tmp_path / name).read_bytes()))
    np.testing.assert_array_equal(sample["inputs"].numpy(), expected[..., ::-1].transpose(2, 0, 1))
    shape = (30, 20) if "exif" in options else (20, 30)
    assert sample["data_samples"].metainfo == dict(
        sample_idx=0, img_path=str(tmp_path / name), ori_shape=shape, img_shape=shape
    )


def test_unreadable_image_ends_the_test(tmp_path: Path) -> None:
    for number in range(2):
        write_image(tmp_path / "ant" / f"{number}.png", seed=number)
    path = tmp_path / "ant" / "1.png"
    path.write_bytes(path.read_bytes()[:500])
    dataset = PixelDataset(str(tmp_path), PACK)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, collate_fn=default_collate)
    with pytest.raises(ValueError, match=r"ant/1\.png cannot be read: .*truncated.*\. Repair such files, or name the"):
        list(loader)


def test_outage_is_not_blamed_on_an_image(data: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = data()

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(type(dataset._source), "read", fail)
    with pytest.raises(OSError, match=r"val: ant/0\.png cannot be read at present: Too many open files"):
        dataset[0]


def test_some_of_the_images(data: Callable) -> None:
    whole, part = data(), data(indices=[4, 0])
    assert len(part) == 2 and part.labels.tolist() == [2, 0] and part.get_cat_ids(0) == [2]
    assert torch.equal(part[0]["inputs"], whole[4]["inputs"]) and part[1]["data_samples"].sample_idx == 1
    assert torch.equal(whole[-1]["inputs"], whole[5]["inputs"])
    assert whole[-1]["data_samples"].sample_idx == 5
    assert type(whole[np.int64(5)]["data_samples"].sample_idx) is int
    assert torch.equal(whole.get_subset([5, 1])[1]["inputs"], whole[1]["inputs"])
    assert torch.equal(ConcatDataset([part, whole])[3]["inputs"], whole[1]["inputs"])
    with pytest.raises(IndexError, match="sample 6 of a data set of 6"):
        whole[6]


def test_first_step_loads_the_image(data: Callable, folder: Path) -> None:
    """Tools that browse a data set ask it for an image before the pipeline."""
    dataset = data()
    loaded = dataset.pipeline.transforms[0](dataset.get_data_info(2))
    with Image.open(folder / "val" / "bee" / "1.png") as image:
        np.testing.assert_array_equal(loaded["img"], np.asarray(image)[..., ::-1])


def test_data_set_is_sent_to_a_process_without_its_images(data: Callable) -> None:
    dataset = data(lazy_init=True, corruption=NOISE)
    dataset.full_init()
    sent = pickle.dumps(dataset)
    assert len(sent) < 4000
    assert torch.equal(pickle.loads(sent)[3]["inputs"], dataset[3]["inputs"])


def test_corruption_acts_on_what_the_network_receives(data: Callable) -> None:
    clean, noisy = data()[5]["inputs"], data(corruption=NOISE)[5]["inputs"]
    assert noisy.shape == clean.shape == (3, 16, 16) and noisy.dtype == torch.uint8
    flat = (noisy.float() - clean.float())[(clean > 80) & (clean < 176)] / 255
    assert flat.std() == pytest.approx(0.12, rel=0.15)


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (dict(type="Normalize", mean=[0.0] * 3, std=[1.0] * 3), r"float32 \(20, 30, 3\)"),
        (dict(type="NumpyToPIL"), "Image"),
    ],
)
def test_corruption_of_anything_but_bytes_is_refused(data: Callable, step: dict, found: str) -> None:
    with pytest.raises(ValueError, match=f"the image is {found} when it comes to be packed, .* leave normalising to"):
        data(pipeline=[step, *PACK], corruption=NOISE)[0]


@pytest.mark.parametrize(
    ("pipeline", "found"), [(PIPELINE[:2], r"0 steps that pack \(ResizeEdge\)"), (PACK * 2, "2 steps that pack")]
)
def test_corruption_needs_a_step_that_packs(data: Callable, pipeline: list, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        data(pipeline=pipeline, corruption=NOISE)
    assert data(pipeline=[], corruption=NOISE)[0]["img"].shape == (20, 30, 3)  # tools that look at labels pass none


@pytest.mark.parametrize("options", [dict(to_float32=True), dict(color_type="unchanged")])
def test_other_ways_of_loading_are_refused(data: Callable, options: dict) -> None:
    with pytest.raises(ValueError, match="PixelDataset reads images itself, as uint8, BGR or grey: leave to_float32"):
        data(pipeline=[dict(type="LoadImageFromFile", **options), *PACK])


@pytest.mark.parametrize("order", ["input", "imagenet-c"])
def test_images_are_read_as_grey_where_the_loader_says_so(data: Callable, order: str) -> None:
    grey = [dict(type="LoadImageFromFile", color_type="grayscale"), *PACK]
    inputs = data(pipeline=grey)[0]["inputs"]
    assert inputs.shape == (1, 20, 30)
    colour = data(pipeline=PACK)[0]["inputs"].flip(0).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(inputs[0], np.asarray(Image.fromarray(colour).convert("L")))
    noisy = data(pipeline=grey, corruption={**NOISE, "order": order})[0]["inputs"]
    assert noisy.shape == inputs.shape and not torch.equal(noisy, inputs)


@pytest.mark.parametrize("pipeline", [None, dict(type="PackInputs"), "PackInputs"])
def test_pipeline_is_a_list(data: Callable, pipeline: object) -> None:
    with pytest.raises(ValueError, match=r"pipeline is .*, expected a list of steps"):
        data(pipeline=pipeline)


def test_step_that_leaves_an_image_out_is_an_error(data: Callable) -> None:
    with pytest.raises(ValueError, match=r"val: bee/0\.png: a step of the pipeline gave None"):
        data(pipeline=[lambda results: None])[1]
