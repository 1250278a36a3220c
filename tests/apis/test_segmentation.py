"""The inferencer of label maps: sizes of predictions, pictures, and what it refuses."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from helpers.segmentor import NAMES, make_trained_segmentor
from seitpp.apis import (
    TokenClassificationInferencer,
    TokenSegInferencer,
    get_inferencer,
    inference_model,
    load_segmentor,
)
from seitpp.benchmarking.synthetic import make_images, make_seg_store
from seitpp.images.label_maps import read_label_indices
from seitpp.models import TokenAdapt
from seitpp.storage import StoreReader
from seitpp.tokenizers import PatchKMeans


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_trained_segmentor(tmp_path_factory.mktemp("segmentor"))


@pytest.fixture(scope="module")
def infer(folder: Path) -> TokenSegInferencer:
    store = folder / "data/scenes-tokens/val"
    return TokenSegInferencer(folder / "config.py", folder / "model.pth", "cpu", tokenizer=store)


def test_label_maps_of_scores_that_are_no_numbers(folder: Path, infer: TokenSegInferencer) -> None:
    decode = infer.model.decode_head.forward
    infer.model.decode_head.forward = lambda features: decode(features) * float("nan")
    try:
        with pytest.raises(ValueError, match=r"sample 0 has NaN .* in (logit_range|seg_logits\.data): the model.s"):
            infer(folder / "images")
    finally:
        del infer.model.decode_head.forward


def test_label_maps_have_the_size_of_their_images(infer: TokenSegInferencer, folder: Path) -> None:
    results = infer(folder / "images")
    assert [result["pred_sem_seg"].shape for result in results] == [(48, 48), (50, 30)]
    for result in results:
        assert result["pred_sem_seg"].dtype == np.uint8
        assert set(result["classes"]) == {NAMES[index] for index in np.unique(result["pred_sem_seg"])}
        shares = list(result["classes"].values())
        assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)


def test_stored_tokens_are_segmented_as_the_model_does(infer: TokenSegInferencer, folder: Path) -> None:
    store = folder / "data/scenes-tokens/val"
    results = infer(store, indices=[2, 0])
    model = load_segmentor(folder / "config.py", folder / "model.pth")
    logits = model._forward(torch.from_numpy(StoreReader(store).read([2, 0])).long())
    expected = torch.nn.functional.interpolate(logits, (32, 32), mode="bilinear").argmax(dim=1)
    assert np.array_equal(np.stack([result["pred_sem_seg"] for result in results]), expected)


def test_images_are_segmented_as_their_tokens(infer: TokenSegInferencer, folder: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "images", 2, 32, seed=7)
    results = infer(tmp_path / "images")
    tokens = torch.stack(
        [
            infer.tokenizer.encode(infer.tokenizer.from_bytes(torch.from_numpy(pixels(path))[None]))[0]
            for path in sorted((tmp_path / "images").iterdir())
        ]
    )
    for one, other in zip(results, infer(tokens), strict=True):
        assert np.array_equal(one["pred_sem_seg"], other["pred_sem_seg"])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).transpose(2, 0, 1).copy()


def test_without_a_tokenizer_tokens_have_the_heads_resolution(folder: Path) -> None:
    infer = TokenSegInferencer(folder / "config.py", folder / "model.pth", "cpu")
    (sample,) = infer(folder / "data/scenes-tokens/val", indices=[1], return_datasamples=True)
    assert sample.pred_sem_seg.shape == (32, 32) and sample.seg_logits.shape == (32, 32)


def test_mirrored_by_the_token_adapt_of_the_trainings_augmentations(folder: Path, tmp_path: Path) -> None:
    sizes = dict(codebook_size=256, code_dim=12, grid=16, out_grid=16, dims=16, num_heads=2, head_dims=8, mlp_dims=32)
    torch.manual_seed(1)
    torch.save({"state_dict": TokenAdapt(**sizes).state_dict()}, tmp_path / "adapt.pth")
    cfg = Config.fromfile(folder / "config.py")
    cfg.data_preprocessor.augments = [
        dict(type="seitpp.TokenAdaptAugment", token_adapt=sizes, checkpoint=str(tmp_path / "adapt.pth"))
    ]
    cfg.model.test_cfg.flip = True
    model, store = load_segmentor(cfg, folder / "model.pth"), folder / "data/scenes-tokens/val"
    (sample,) = TokenSegInferencer(model)(store, indices=[1], return_datasamples=True)
    codes = torch.from_numpy(StoreReader(store).read([1])).long()
    expected = (model._forward(codes) + model._forward(model.mirrored(codes)).flip(-1)) / 2
    torch.testing.assert_close(sample.seg_logits.data[None], expected)


def test_pictures_are_written(infer: TokenSegInferencer, folder: Path, tmp_path: Path) -> None:
    infer(folder / "images", show_dir=tmp_path)
    infer(folder / "data/scenes-tokens/val", indices=[1], show_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000.png", "0001.png", "val-1.png"]


def test_label_maps_and_pictures_of_folders_of_folders(infer: TokenSegInferencer, folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b/c"):
        shutil.copytree(folder / "images", tmp_path / "in" / name)
    results = infer(tmp_path / "in", out_dir=tmp_path / "out", opacity=0.2, batch_size=3)
    names = ["a/0000.png", "a/0001.png", "b/c/0000.png", "b/c/0001.png"]
    for name, result in zip(names, results, strict=True):
        with Image.open(tmp_path / "out" / "pred" / name) as written:
            assert written.mode == "L" and np.array_equal(np.asarray(written), result["pred_sem_seg"])
        assert np.array_equal(
            read_label_indices((tmp_path / "out" / "pred" / name).read_bytes()).indices, result["pred_sem_seg"]
        )
        with Image.open(tmp_path / "out" / "vis" / name) as page:
            assert page.width > 2 * result["pred_sem_seg"].shape[1]


def test_stored_samples_are_segmented_at_the_size_of_their_label_maps(
    infer: TokenSegInferencer, tmp_path: Path
) -> None:
    kmeans = PatchKMeans(image_size=32, patch_size=2).describe()
    sizes = dict(codebook_size=256, code_dim=12, num_classes=5, tokenizer=kmeans)
    make_seg_store(tmp_path / "store", 2, scale=3, **sizes)
    assert [result["pred_sem_seg"].shape for result in infer(tmp_path / "store")] == [(48, 48)] * 2


def test_opacity_is_a_share(infer: TokenSegInferencer, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"opacity is 2, expected a number from 0 \(the image alone\) to 1"):
        infer(folder / "images", opacity=2)


def test_config_says_which_inferencer(folder: Path, infer: TokenSegInferencer) -> None:
    found = get_inferencer(str(folder / "config.py"), folder / "model.pth", device="cpu")
    assert isinstance(found, TokenSegInferencer) and isinstance(get_inferencer(infer.model), TokenSegInferencer)
    result = inference_model(infer.model, Image.new("L", (7, 9)))
    assert result["pred_sem_seg"].shape == (9, 7)
    with pytest.raises(ValueError, match=r"is the config of MTM; expected that of a classifier .*: fine-tune it first"):
        get_inferencer("mtm_vitb", folder / "model.pth")


def test_other_models_and_palettes_are_refused(folder: Path, infer: TokenSegInferencer) -> None:
    with pytest.raises(ValueError, match="is the config of a segmentor; expected that of a classifier"):
        TokenClassificationInferencer(folder / "config.py", folder / "model.pth", "cpu")
    with pytest.raises(ValueError, match="is a Linear with the data preprocessor NoneType; expected a"):
        TokenSegInferencer(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="the palette has 1 colours, the model 5 classes"):
        TokenSegInferencer(infer.model, palette=[[0, 0, 0]])
    for palette in ([[0, 0, 300]] * 5, [[0, 0]] * 5, 7, [[0, 0, None]] * 5, ["red"] * 5):
        with pytest.raises(ValueError, match="the palette is damaged or is not a list of colours, each of three"):
            TokenSegInferencer(infer.model, palette=palette)
