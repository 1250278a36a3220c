"""`TokenClassificationInferencer`: images as their stored tokens, all kinds of input, pictures, what is refused."""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmpretrain.structures import DataSample
from PIL import Image

from helpers.classifier import (
    TrainedClassifier,
    logits_of,
    make_trained_classifier,
    small_kmeans,
    small_vitvqgan,
    write_store,
)
from helpers.shrinking import build_model
from seitpp.apis import TokenClassificationInferencer, load_classifier
from seitpp.benchmarking.synthetic import make_store
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.registry import INFERENCERS
from seitpp.storage import StoreReader
from seitpp.tokenizers import BlockDCT

CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return make_trained_classifier(tmp_path_factory.mktemp("kmeans"))


def infer_with(trained: TrainedClassifier, **options: object) -> TokenClassificationInferencer:
    return TokenClassificationInferencer(trained.config, trained.checkpoint, "cpu", **options)


@pytest.fixture(scope="module")
def infer(trained: TrainedClassifier) -> TokenClassificationInferencer:
    return infer_with(trained, tokenizer=trained.store)


def scores(results: list[dict]) -> np.ndarray:
    return np.stack([result["pred_scores"] for result in results])


def bgr(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))[..., ::-1]


# Predictions.


@pytest.mark.parametrize("kind", ["kmeans", "kmeans-embeddings", "grey", "vitvqgan", "vitvqgan-embeddings", "dct"])
def test_images_give_exactly_the_scores_of_their_stored_tokens(tmp_path: Path, kind: str) -> None:
    tokenizers = {
        "kmeans": small_kmeans,
        "grey": lambda: small_kmeans(in_channels=1),
        "vitvqgan": lambda: small_vitvqgan(tmp_path),
        "dct": lambda: BlockDCT(40, luma_coefficients=4, chroma_coefficients=1),
    }
    output = "embeddings" if kind.endswith("embeddings") or kind == "dct" else "codes"
    trained = make_trained_classifier(tmp_path, tokenizers[kind.removesuffix("-embeddings")](), output)
    infer = infer_with(trained, tokenizer=trained.store)
    stored, images = infer(trained.store, batch_size=3), infer(trained.images, batch_size=3)
    np.testing.assert_array_equal(scores(images), scores(stored))
    assert len(np.unique(scores(stored), axis=0)) > 2


def test_scores_are_the_softmax_of_the_model_s_logits(
    infer: TokenClassificationInferencer, trained: TrainedClassifier
) -> None:
    tokens = torch.from_numpy(StoreReader(trained.store).read_all())
    model = load_classifier(trained.config, trained.checkpoint)
    expected = logits_of(model, tokens).softmax(dim=1).numpy()
    np.testing.assert_allclose(scores(infer(trained.store)), expected, rtol=1e-6)


def test_result_is_mmpretrain_s_dict_and_the_best_classes(
    infer: TokenClassificationInferencer, trained: TrainedClassifier
) -> None:
    (result,) = infer(trained.store, indices=[2], topk=3)
    best = np.argsort(-result["pred_scores"])[:3]
    assert result["pred_scores"].shape == (6,) and result["pred_scores"].sum() == pytest.approx(1)
    assert result["pred_label"] == best[0] and result["pred_class"] == CLASSES[best[0]]
    assert result["pred_score"] == pytest.approx(result["pred_scores"].max())
    assert [entry["label"] for entry in result["topk"]] == best.tolist()
    assert [entry["class"] for entry in result["topk"]] == [CLASSES[label] for label in best]
    assert [entry["score"] for entry in result["topk"]] == pytest.approx(result["pred_scores"][best].tolist())
    assert len(infer(trained.store, indices=[2], topk=99)[0]["topk"]) == 6


def test_data_samples_are_mmpretrain_s(infer: TokenClassificationInferencer, trained: TrainedClassifier) -> None:
    samples = infer(trained.store, return_datasamples=True, indices=[1, 0])
    assert all(isinstance(sample, DataSample) for sample in samples)
    results = infer(trained.store, indices=[1, 0])
    assert [sample.pred_label.item() for sample in samples] == [result["pred_label"] for result in results]


def test_paths_arrays_and_lists_are_the_same_images(
    infer: TokenClassificationInferencer, trained: TrainedClassifier
) -> None:
    files = sorted(trained.images.iterdir())
    expected = scores(infer(trained.images, batch_size=1))
    every = [str(files[0]), files[1], bgr(files[2]), bgr(files[3]), str(files[4])]
    np.testing.assert_array_equal(scores(infer(every, batch_size=1)), expected)
    np.testing.assert_array_equal(scores(infer(bgr(files[2]))), expected[2:3])
    np.testing.assert_array_equal(scores(infer(str(files[4]))), expected[4:])
    assert not np.array_equal(scores(infer(bgr(files[2])[..., ::-1])), expected[2:3])  # RGB


@pytest.mark.parametrize(
    ("mode", "ending"),
    [*((mode, "png") for mode in ("RGB", "L", "RGBA", "P", "LA", "1", "I;16")), ("CMYK", "tif"), ("CMYK", "jpg")],
)
def test_pil_images_are_their_files(
    infer: TokenClassificationInferencer, tmp_path: Path, mode: str, ending: str
) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(12, 14, 4), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGBA") if mode in ("RGBA", "LA") else Image.fromarray(pixels[..., :3])
    image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    path = tmp_path / f"a.{ending}"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(path, exif=exif)
    with Image.open(io.BytesIO(path.read_bytes())) as opened:  # Pillow maps some TIFF files, and turns them wrongly
        of_images = infer([opened, path, np.zeros((9, 9, 3), np.uint8)], batch_size=1)
    np.testing.assert_array_equal(scores(of_images[:1]), scores(of_images[1:2]))


def test_pil_images_that_cannot_be_read(infer: TokenClassificationInferencer) -> None:
    with pytest.raises(ValueError, match=r"image 0 \(a PIL image\) cannot be read: it holds 32-bit floats"):
        infer(Image.new("F", (8, 8)))
    with pytest.raises(ValueError, match=r"image 1 is a PIL image of size \(0, 4\), without a pixel"):
        infer([Image.new("L", (8, 8)), Image.new("L", (0, 4))])


def test_folders_of_folders_keep_their_paths(
    infer: TokenClassificationInferencer, trained: TrainedClassifier, tmp_path: Path
) -> None:
    files = sorted(trained.images.iterdir())
    for name, file in zip(("a/1.png", "a/b/1.png", "2.png", "b/1.png", ".hidden/1.png"), files, strict=True):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "in" / name)
    Image.open(files[0]).save(tmp_path / "in" / "a" / "1.bmp")
    results = infer(tmp_path / "in", out_dir=tmp_path / "out", topk=1)
    names = ["2", "a/1", "a/1-2", "a/b/1", "b/1"]
    for folder, suffix in (("vis", ".png"), ("pred", ".json")):
        found = [path.relative_to(tmp_path / "out" / folder) for path in (tmp_path / "out" / folder).rglob("*.*")]
        assert sorted(map(str, found)) == sorted(f"{name}{suffix}" for name in names)
    for name, result in zip(names, results, strict=True):
        written = json.loads((tmp_path / "out" / "pred" / f"{name}.json").read_text())
        assert (written["pred_class"], written["topk"]) == (
            result["pred_class"],
            infer(tmp_path / "in")[names.index(name)]["topk"],
        )
    with pytest.raises(ValueError, match=r"a/shown lies inside .*in, which is read; name a folder elsewhere"):
        infer(tmp_path / "in", show_dir=tmp_path / "in" / "a" / "shown")
    with pytest.raises(ValueError, match=r"out_dir has its own folders .*; leave out show_dir"):
        infer(tmp_path / "in", out_dir=tmp_path / "out", show_dir=tmp_path / "other")


def test_pictures_do_not_replace_another_image_of_the_list(
    infer: TokenClassificationInferencer, tmp_path: Path
) -> None:
    for name in ("a.bmp", "a.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"a\.png is an image that is read; write to another folder"):
        infer([tmp_path / "a.bmp", tmp_path / "a.png"], show_dir=tmp_path)


def test_results_come_as_their_batches_are_done(
    infer: TokenClassificationInferencer, trained: TrainedClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    forward = type(infer).forward
    monkeypatch.setattr(type(infer), "forward", lambda self, batch: calls.append(1) or forward(self, batch))
    results = infer.stream(trained.store, batch_size=2)
    next(results)
    assert len(calls) == 1
    assert len(list(results)) == 4 and len(calls) == 3


def test_grey_array_is_a_colour_image_of_equal_channels(infer: TokenClassificationInferencer) -> None:
    grey = np.random.default_rng(0).integers(256, size=(12, 12), dtype=np.uint8)
    np.testing.assert_array_equal(scores(infer(grey)), scores(infer(np.stack([grey] * 3, axis=-1))))


def test_batch_size_and_indices_choose_no_other_results(
    infer: TokenClassificationInferencer, trained: TrainedClassifier
) -> None:
    expected = scores(infer(trained.store))
    for batch_size in (1, 2, 5, 100):
        np.testing.assert_allclose(scores(infer(trained.store, batch_size=batch_size)), expected, rtol=1e-5)
    np.testing.assert_allclose(scores(infer(trained.store, indices=[4, 0, 4])), expected[[4, 0, 4]], rtol=1e-5)


def test_tensor_of_tokens(infer: TokenClassificationInferencer, trained: TrainedClassifier) -> None:
    tokens = torch.from_numpy(StoreReader(trained.store).read_all()).long()
    np.testing.assert_array_equal(scores(infer(tokens)), scores(infer(trained.store)))
    np.testing.assert_allclose(scores(infer(tokens[1])), scores(infer(trained.store))[1:2], rtol=1e-5)


def test_tokens_need_no_tokenizer(trained: TrainedClassifier, infer: TokenClassificationInferencer) -> None:
    np.testing.assert_array_equal(scores(infer_with(trained)(trained.store)), scores(infer(trained.store)))


@pytest.mark.parametrize("given", ["config", "dict", "Config"])
def test_tokenizer_and_model_may_be_given_in_other_ways(
    trained: TrainedClassifier, infer: TokenClassificationInferencer, tmp_path: Path, given: str
) -> None:
    options = dict(type="seitpp.PatchKMeans", image_size=10, patch_size=2, codebook=str(trained.store))
    (tmp_path / "tokenizer.py").write_text(f"tokenizer = {options}\n")
    model = Config.fromfile(trained.config) if given == "Config" else str(trained.config)
    tokenizer = options if given == "dict" else tmp_path / "tokenizer.py"
    other = TokenClassificationInferencer(model, trained.checkpoint, "cpu", tokenizer=tokenizer)
    np.testing.assert_array_equal(scores(other(trained.images)), scores(infer(trained.images)))


def test_built_model_is_used_as_it_is(trained: TrainedClassifier, infer: TokenClassificationInferencer) -> None:
    model = load_classifier(trained.config, trained.checkpoint)
    other = TokenClassificationInferencer(model, tokenizer=trained.store, classes=list("uvwxyz"))
    assert other.model is model
    (result,) = other(trained.store, indices=[0])
    assert result["pred_class"] == "uvwxyz"[result["pred_label"]]


def test_averaged_weights_are_used(trained: TrainedClassifier, tmp_path: Path) -> None:
    content = load_checkpoint_file(trained.checkpoint)
    raw = {f"module.{name}": value + 1 for name, value in content["state_dict"].items()}
    torch.save({**content, "ema_state_dict": {**raw, "steps": torch.tensor(3)}}, tmp_path / "ema.pth")
    model = load_classifier(trained.config, tmp_path / "ema.pth")
    torch.testing.assert_close(model.head.fc.weight, content["state_dict"]["head.fc.weight"])


def test_codebook_of_a_checkpoint_stands_in_for_a_store_that_is_gone(
    trained: TrainedClassifier, infer: TokenClassificationInferencer, tmp_path: Path
) -> None:
    config = Config.fromfile(trained.config)
    config.data_preprocessor.codebook = str(tmp_path / "gone")
    other = TokenClassificationInferencer(config, trained.checkpoint, "cpu")
    np.testing.assert_array_equal(scores(other(trained.store)), scores(infer(trained.store)))


def test_codebook_of_a_checkpoint_stands_in_for_one_of_another_size(
    trained: TrainedClassifier, infer: TokenClassificationInferencer, tmp_path: Path
) -> None:
    config = Config.fromfile(trained.config)
    np.save(tmp_path / "recipe.npy", np.zeros((64, 4), np.float32))
    config.data_preprocessor.codebook = str(tmp_path / "recipe.npy")
    other = TokenClassificationInferencer(config, trained.checkpoint, "cpu", tokenizer=trained.store)
    np.testing.assert_array_equal(scores(other(trained.images)), scores(infer(trained.images)))


def test_given_tokenizer_takes_the_place_of_the_config_s(trained: TrainedClassifier, tmp_path: Path) -> None:
    config = Config.fromfile(trained.config)
    config.data_preprocessor.tokenizer = str(trained.store)
    assert load_classifier(config, trained.checkpoint).data_preprocessor.tokenizer.stride == 2
    config.data_preprocessor.tokenizer = str(tmp_path / "gone")
    assert load_classifier(config, trained.checkpoint, trained.store).data_preprocessor.tokenizer.stride == 2


def test_training_s_files_are_not_needed(trained: TrainedClassifier, tmp_path: Path) -> None:
    config = Config.fromfile(trained.config)
    gone = str(tmp_path / "gone.pth")
    config.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=gone)
    config.data_preprocessor.augments = [dict(type="seitpp.NoSuchAugment", checkpoint=gone)]
    load_classifier(config, trained.checkpoint)


def test_class_names_are_the_store_s_where_the_checkpoint_has_none(trained: TrainedClassifier, tmp_path: Path) -> None:
    torch.save(load_checkpoint_file(trained.checkpoint)["state_dict"], tmp_path / "weights.pth")
    infer = TokenClassificationInferencer(trained.config, tmp_path / "weights.pth", "cpu", tokenizer=trained.store)
    assert "pred_class" not in infer(trained.images)[0] and "class" not in infer(trained.images)[0]["topk"][0]
    assert infer(trained.store)[0]["pred_class"] in CLASSES


def test_registry_builds_it(trained: TrainedClassifier) -> None:
    options = {"model": str(trained.config), "pretrained": str(trained.checkpoint), "device": "cpu"}
    infer = INFERENCERS.build({"type": "seitpp.TokenClassificationInferencer", **options})
    assert isinstance(infer, TokenClassificationInferencer) and not isinstance(infer, BaseInferencer)


# Pictures.


def test_pictures_of_images_are_the_images(
    infer: TokenClassificationInferencer, trained: TrainedClassifier, tmp_path: Path
) -> None:
    large = np.zeros((240, 300, 3), np.uint8)
    large[..., 0] = 200  # blue
    infer([large, sorted(trained.images.iterdir())[0]], show_dir=tmp_path / "new" / "shown")
    assert sorted(os.listdir(tmp_path / "new" / "shown")) == ["0.png", "0000.png"]
    with Image.open(tmp_path / "new" / "shown" / "0.png") as picture:
        assert picture.size == (300, 240) and picture.getpixel((290, 230)) == (0, 0, 200)
        assert len(picture.crop((0, 0, 150, 40)).getcolors()) > 10  # text
    with Image.open(tmp_path / "new" / "shown" / "0000.png") as picture:
        assert picture.size == (224, 224)


def test_pictures_of_coefficients_are_decoded(tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path, BlockDCT(40, chroma_coefficients=8), "embeddings", num_images=2)
    infer_with(trained)(trained.store, show_dir=tmp_path / "shown")
    assert sorted(os.listdir(tmp_path / "shown")) == ["store-0.png", "store-1.png"]


@pytest.mark.parametrize("given", [True, False], ids=["tokenizer", "store's tokenizer"])
def test_pictures_of_tokens_are_decoded(trained: TrainedClassifier, tmp_path: Path, given: bool) -> None:
    infer = infer_with(trained, tokenizer=trained.store if given else None)
    infer(trained.store, indices=[3, 1, 3], show_dir=tmp_path, resize=250, draw_score=False)
    assert sorted(os.listdir(tmp_path)) == ["store-1.png", "store-3-2.png", "store-3.png"]
    tokens = torch.from_numpy(StoreReader(trained.store).read([3])).long()
    pixel = trained.tokenizer.to_bytes(trained.tokenizer.decode(tokens))[0, :, -1, -1]
    with Image.open(tmp_path / "store-3.png") as picture:
        assert picture.size == (250, 250) and picture.getpixel((249, 249)) == tuple(pixel.tolist())


def test_names_that_occur_twice_give_two_pictures(
    infer: TokenClassificationInferencer, trained: TrainedClassifier, tmp_path: Path
) -> None:
    shutil.copytree(trained.images, tmp_path / "copy")
    infer([trained.images / "0000.png", tmp_path / "copy" / "0000.png"], show_dir=tmp_path / "shown")
    assert sorted(os.listdir(tmp_path / "shown")) == ["0000-1.png", "0000.png"]


def test_pictures_without_a_decoder_are_refused_before_the_work(
    trained: TrainedClassifier, infer: TokenClassificationInferencer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(trained.tokenizer), "can_decode", False)
    with pytest.raises(ValueError, match="PatchKMeans has no decoder; pass one with its decoder as tokenizer"):
        infer(trained.store, show_dir=tmp_path / "shown")
    tokens = torch.from_numpy(StoreReader(trained.store).read_all())
    with pytest.raises(ValueError, match="and no tokenizer is known"):
        infer_with(trained)(tokens, show_dir=tmp_path / "shown")
    assert os.listdir(tmp_path) == []


# What is refused.


def without_stores(trained: TrainedClassifier) -> Config:
    """The classifier's config, with the codebook and the test store elsewhere."""
    config = Config.fromfile(trained.config)
    config.data_preprocessor.codebook = "gone/train"
    config.test_dataloader.dataset.update(data_root="gone", store="val")
    return config


def test_images_without_a_tokenizer(trained: TrainedClassifier, tmp_path: Path) -> None:
    content = load_checkpoint_file(trained.checkpoint)
    content["meta"]["dataset_meta"]["tokenizer"] = {"type": "PatchKMeans"}
    torch.save(content, tmp_path / "named.pth")
    infer = TokenClassificationInferencer(without_stores(trained), tmp_path / "named.pth", "cpu")
    known = "0000.png must be tokenised first, and no tokenizer is known"
    with pytest.raises(ValueError, match=known) as error:
        infer(trained.images / "0000.png")
    assert "was trained on tokens of a PatchKMeans; the token store gone/train of its config is not here" in str(
        error.value
    )
    assert "the token store gone/val of its config is not here); pass tokenizer (--tokenizer): a file of" in str(
        error.value
    )
    with pytest.raises(ValueError, match="a ndarray must be tokenised first"):
        infer(np.zeros((8, 8, 3), np.uint8))


def test_weights_of_the_store_s_tokenizer_that_are_gone_are_named(tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path, small_vitvqgan(tmp_path))
    weights = Path(StoreReader(trained.store).header["tokenizer"]["checkpoint"])
    weights.rename(tmp_path / "elsewhere.pth")
    with pytest.raises(ValueError, match=rf"store was made by a ViTVQGAN with the weights {weights}, which are not"):
        infer_with(trained)(trained.images)


def test_tokenizer_is_that_of_a_store_which_the_config_names(
    trained: TrainedClassifier, infer: TokenClassificationInferencer
) -> None:
    np.testing.assert_array_equal(scores(infer_with(trained)(trained.images)), scores(infer(trained.images)))


def test_tokenizer_of_another_codebook(trained: TrainedClassifier, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other", trained.images, small_kmeans(codebook_size=15))
    with pytest.raises(ValueError, match=r"the PatchKMeans and the data preprocessor .*codebook_size 15 and"):
        infer_with(trained, tokenizer=other)(trained.images)


def test_tokenizer_that_is_still_to_be_fitted(trained: TrainedClassifier) -> None:
    options = dict(type="seitpp.PatchKMeans", image_size=10, patch_size=2, fit=dict(codebook_size=16))
    with pytest.raises(ValueError, match="config has a fit entry; give the token store that it was fitted for"):
        infer_with(trained, tokenizer=options)


def test_store_of_another_codebook(infer: TokenClassificationInferencer, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", grid=(5, 5), codebook_size=16, code_dim=12)
    with pytest.raises(ValueError, match="other and the model's training data belong to different tokenizers"):
        infer(other)


def test_store_without_a_codebook(
    infer: TokenClassificationInferencer, trained: TrainedClassifier, tmp_path: Path
) -> None:
    other = write_store(tmp_path / "dct", trained.images, BlockDCT(40, chroma_coefficients=0))
    with pytest.raises(ValueError, match="channels 64 and none, codebook_sha256 none and"):
        infer(other)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"no image", "of no known image format"), (None, "Error|truncated")],
    ids=["empty", "text", "cut"],
)
def test_unreadable_images(
    infer: TokenClassificationInferencer, trained: TrainedClassifier, tmp_path: Path, content: bytes, reason: str
) -> None:
    whole = (trained.images / "0000.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=rf"image .*bad.png cannot be read: .*({reason})"):
        infer(tmp_path / "bad.png")


def test_missing_and_tiny_images(infer: TokenClassificationInferencer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"image .*none.png does not exist"):
        infer(tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"image 1 \(an array\) does not fit: .* less than one patch of 2 x 2"):
        infer([np.zeros((2, 2, 3), np.uint8), np.zeros((1, 9, 3), np.uint8)])
    with pytest.raises(ValueError, match=r"holds no image file .* and is no token store"):
        infer(tmp_path)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), r"array of float32 and shape \(8, 8, 3\); expected uint8"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\); expected uint8, \(H, W, 3\) in the order BGR"),
        (np.zeros((0, 8, 3), np.uint8), "without a pixel"),
        ([1, 2], "input 0 of the list is a int; expected paths, PIL images or arrays"),
    ],
)
def test_arrays_that_are_no_images(infer: TokenClassificationInferencer, image: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        infer(image)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(2, 5, 5), r"tokens are torch.float32 of shape \(2, 5, 5\); expected integers \(N, H, W\)"),
        (torch.zeros(5, dtype=torch.int64), r"of shape \(5,\); expected integers"),
        (torch.full((1, 5, 5), 16), r"tokens lie in \[16, 16\]; the model has codes in \[0, 16\)"),
        (torch.full((1, 5, 5), -1), r"tokens lie in \[-1, -1\]"),
        (torch.zeros(0, 5, 5, dtype=torch.int64), "hold no sample"),
        (torch.zeros(1, 3, 3, dtype=torch.int64), "a grid of 3 x 3 tokens cannot be cropped to 4 x 4"),
    ],
)
def test_tensors_that_are_no_tokens(infer: TokenClassificationInferencer, tokens: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        infer(tokens)


def test_options_that_make_no_sense(infer: TokenClassificationInferencer, trained: TrainedClassifier) -> None:
    for name in ("batch_size", "topk"):
        with pytest.raises(ValueError, match=f"{name} is 0, expected a positive integer"):
            infer(trained.store, **{name: 0})
    with pytest.raises(ValueError, match="unknown argument"):
        infer(trained.store, colour="red")
    with pytest.raises(ValueError, match=r"indices are samples of a token store; .*images is none"):
        infer(trained.images, indices=[0])
    for nothing, options in (([], {}), (trained.store, {"indices": []})):
        with pytest.raises(ValueError, match="there is nothing to classify"):
            infer(nothing, **options)
    with pytest.raises(IndexError, match="index 5 is out of range for 5 samples"):
        infer(trained.store, indices=[5])


def test_other_numbers_of_classes(trained: TrainedClassifier, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="classes names 2 classes, the model has 6"):
        infer_with(trained, classes=["a", "b"])
    content = load_checkpoint_file(trained.checkpoint)
    content["meta"]["dataset_meta"]["classes"] = ["a"]
    torch.save(content, tmp_path / "one.pth")
    with pytest.raises(ValueError, match="the checkpoint names 1 classes, the model has 6"):
        TokenClassificationInferencer(trained.config, tmp_path / "one.pth", "cpu")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"dataset_meta": {"classes": 6}}, r"meta\.dataset_meta\.classes is 6, expected list or tuple"),
        (
            {"dataset_meta": {"classes": [1, 2, 3, 4, 5, 6]}},
            r"meta\.dataset_meta\.classes has the name 1, expected",
        ),
        ({"dataset_meta": [1]}, r"meta\.dataset_meta is \[1\], expected dict"),
        (3, r"meta is 3, expected dict"),
    ],
)
def test_checkpoints_that_tell_nonsense(trained: TrainedClassifier, tmp_path: Path, meta: object, message: str) -> None:
    content = load_checkpoint_file(trained.checkpoint)
    torch.save({**content, "meta": meta}, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"checkpoint .*odd\.pth: {message}"):
        TokenClassificationInferencer(trained.config, tmp_path / "odd.pth", "cpu")


def test_weights_that_are_not_finite(trained: TrainedClassifier, tmp_path: Path) -> None:
    content = load_checkpoint_file(trained.checkpoint)
    content["state_dict"]["head.fc.bias"][2] = torch.nan
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"odd\.pth holds values that are NaN or infinite in head\.fc\.bias \(1 of 6"):
        TokenClassificationInferencer(trained.config, tmp_path / "odd.pth", "cpu")


def test_scores_that_are_no_numbers(trained: TrainedClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_classifier(trained.config, trained.checkpoint)
    monkeypatch.setattr(model.head.fc, "forward", lambda features: features.new_full((len(features), 6), torch.nan))
    with pytest.raises(ValueError, match="sample 0 has NaN or infinite values in pred_score: the model's weights"):
        TokenClassificationInferencer(model)(trained.store)


def test_checkpoints_that_do_not_fit(trained: TrainedClassifier, tmp_path: Path) -> None:
    content = load_checkpoint_file(trained.checkpoint)
    weights = content["state_dict"]

    def message(changed: dict) -> str:
        torch.save({"state_dict": changed}, tmp_path / "wrong.pth")
        with pytest.raises(ValueError) as caught:
            load_classifier(trained.config, tmp_path / "wrong.pth")
        return str(caught.value)

    assert "missing keys: head.fc.bias" in message({key: weights[key] for key in weights if key != "head.fc.bias"})
    assert "unknown keys: neck.weight" in message({**weights, "neck.weight": torch.ones(1)})
    assert "wrong shapes: head.fc.bias (7,) where the model has (6,)" in message(
        {**weights, "head.fc.bias": torch.ones(7)}
    )
    assert "different tokenizers" in message({**weights, "data_preprocessor.codebook": torch.ones(16, 12)})


class Payload:
    """Would create a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_a_checkpoint_is_not_run(trained: TrainedClassifier, tmp_path: Path) -> None:
    torch.save({**load_checkpoint_file(trained.checkpoint), "args": Payload(tmp_path / "ran")}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="nothing in it was run"):
        load_classifier(trained.config, tmp_path / "bad.pth")
    assert not (tmp_path / "ran").exists()


def test_files_that_are_not_there(trained: TrainedClassifier, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.pth does not exist"):
        load_classifier(trained.config, tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match=r"none.py"):
        load_classifier(tmp_path / "none.py", trained.checkpoint)
    with pytest.raises(FileNotFoundError, match=r"tokenizer .*none does not exist"):
        load_classifier(trained.config, trained.checkpoint, tmp_path / "none")


def test_models_without_classes_or_tokens(trained: TrainedClassifier) -> None:
    def edited(change: Callable[[Config], object]) -> Config:
        config = Config.fromfile(trained.config)
        change(config)
        return config

    with pytest.raises(ValueError, match="has no model; expected that of a classifier"):
        load_classifier(Config({"lr": 1}), trained.checkpoint)
    headless = edited(lambda config: config.model.update(head=None))
    with pytest.raises(ValueError, match=r"the model of .* is a ImageClassifier whose head has no classes"):
        load_classifier(headless, trained.checkpoint)
    other = dict(type="mmpretrain.ClsDataPreprocessor")
    pixels = edited(lambda config: config.model.update(data_preprocessor=other))
    with pytest.raises(ValueError, match="has the data preprocessor ClsDataPreprocessor; a classifier of tokens has"):
        load_classifier(pixels, trained.checkpoint)


def test_checkpoint_of_a_built_model_or_none_for_a_config(trained: TrainedClassifier) -> None:
    model = build_model(Config.fromfile(trained.config))
    with pytest.raises(ValueError, match="the model is built, so it has its weights; leave out pretrained"):
        TokenClassificationInferencer(model, trained.checkpoint)
    with pytest.raises(ValueError, match="pretrained is None; name the checkpoint"):
        TokenClassificationInferencer(trained.config)
