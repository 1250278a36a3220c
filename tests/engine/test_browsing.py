"""`seitpp.engine.browsing`: what is shown is what the data set gives and what the model will get."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from seitpp.benchmarking.synthetic import make_seg_store
from seitpp.engine.browsing import ImageBrowser, PairBrowser, TokenBrowser, make_browser
from seitpp.storage import StoreWriter
from seitpp.tokenizers import BlockDCT, PatchKMeans

GREYS = torch.linspace(0, 1, 6)[:, None].expand(6, 12)  # one flat patch of 2 x 2 RGB pixels per code
TOKENS = np.random.default_rng(0).integers(6, size=(12, 4, 4))
FLIP = dict(type="seitpp.BatchRandomFlip", prob=1.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, tokenizer = tmp_path_factory.mktemp("browsing") / "store", PatchKMeans(8, 2, codebook=GREYS)
    options = dict(codebook_size=6, grid=(4, 4), tokenizer=tokenizer.describe(), codebook=GREYS.numpy())
    with StoreWriter(path, label_kind="class", classes=["cat", "dog", "eel"], **options) as writer:
        writer.append(TOKENS, np.arange(12) % 3)
    return path


def config_of(store: Path, augments: list, model: dict | None = None, **preprocessor: Any) -> Config:
    loader = dict(
        batch_size=4,
        dataset=dict(type="seitpp.TokenDataset", store=str(store), with_labels=model is None),
        collate_fn=dict(type="seitpp.identity_collate"),
    )
    preprocessor = dict(
        type="seitpp.TokenDataPreprocessor",
        codebook=str(store),
        distance="euclidean",
        augments=augments,
        **preprocessor,
    )
    return Config(
        dict(
            default_scope="seitpp",
            model=model or dict(type="mmpretrain.ImageClassifier"),
            data_preprocessor=preprocessor,
            train_dataloader=loader,
            val_dataloader=loader,
        )
    )


def shown(codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(codes).mul(51).byte().repeat_interleave(2, 0).repeat_interleave(2, 1).expand(3, -1, -1)


def test_stored_tokens_and_their_augmentation_are_decoded(store: Path) -> None:
    browser = make_browser(config_of(store, [FLIP], num_classes=3), "train")
    assert isinstance(browser, TokenBrowser) and "decoded by PatchKMeans" in browser.notes[0]
    samples = browser.samples([1, 5], num_draws=2)
    assert [(sample.index, sample.name) for sample in samples] == [(1, "dog"), (5, "eel")]
    assert [picture[:2] for picture in samples[0].pictures] == [("data set", ""), ("draw 1", "dog"), ("draw 2", "dog")]
    for sample in samples:
        images = [image for _, _, image in sample.pictures]
        assert torch.equal(images[0], shown(TOKENS[sample.index]))
        assert torch.equal(images[1], shown(TOKENS[sample.index, :, ::-1].copy()))


def test_outside_training_the_model_s_input_is_shown_once(store: Path) -> None:
    browser = make_browser(config_of(store, [FLIP], num_classes=3, crop_size=2), "val")
    (sample,) = browser.samples([3], num_draws=5)
    assert [picture[:2] for picture in sample.pictures] == [("data set", ""), ("model's input", "cat")]
    assert torch.equal(sample.pictures[1][2], shown(TOKENS[3, 1:3, 1:3]))


def test_targets_of_mixed_samples_have_weights(store: Path) -> None:
    mixup = dict(type="seitpp.BatchMixup", alpha=1.0, prob=1.0)
    browser = make_browser(config_of(store, [mixup], num_classes=3, output="embeddings"), "train")
    torch.manual_seed(0)
    samples = browser.samples([0, 1, 2], num_draws=2)
    captions = [caption for sample in samples for _, caption, _ in sample.pictures[1:]]
    assert any(caption.count("%") == 2 for caption in captions) and "nearest" in browser.notes[1]


def test_each_sample_meets_both_parts_of_a_split_batch(store: Path) -> None:
    browser = make_browser(config_of(store, [dict(type="seitpp.SplitBatch", first=[FLIP], second=[])]), "train")
    torch.manual_seed(0)
    for sample in browser.samples([0, 1, 2, 3], num_draws=8):
        first = sample.pictures[0][2]
        assert {torch.equal(image, first) for _, _, image in sample.pictures[1:]} == {True, False}


@pytest.mark.parametrize(("phase", "share"), [("train", None), ("val", "75% of the patches")])
def test_what_mtm_hides_is_painted_over(store: Path, phase: str, share: str | None) -> None:
    model = dict(type="seitpp.MTM", backbone=dict(patch_size=2), mask_ratio=dict(low=0.5), eval_mask_ratio=0.75)
    (sample,) = make_browser(config_of(store, [], model), phase).samples([4], num_draws=1)
    label, caption, image = sample.pictures[-1]
    plain = sample.pictures[-2][2]
    patches = image.reshape(3, 2, 4, 2, 4).permute(1, 3, 0, 2, 4).reshape(4, -1)
    hidden = [len(patch.unique()) == 1 and patch[0] in (60, 150) for patch in patches]
    assert label == "hidden" and caption == (share or f"{sum(hidden) / 4:.0%} of the patches") and sum(hidden) >= 2
    for patch, is_hidden, kept in zip(
        patches, hidden, plain.reshape(3, 2, 4, 2, 4).permute(1, 3, 0, 2, 4).reshape(4, -1), strict=True
    ):
        assert is_hidden or torch.equal(patch, kept)


def test_label_maps_follow_their_tokens(tmp_path: Path) -> None:
    path = make_seg_store(tmp_path / "seg", num_samples=3, grid=(4, 4), codebook_size=12)
    config = config_of(path, [FLIP])
    config.data_preprocessor.type = "seitpp.TokenSegDataPreprocessor"
    config.train_dataloader.dataset = dict(type="seitpp.TokenSegDataset", store=str(path))
    browser = make_browser(config, "train")
    (sample,) = browser.samples([1], num_draws=1)
    assert [label for label, _, _ in sample.pictures] == ["data set", "label map", "draw 1", "label map"]
    assert [name for _, name in browser.legend] == [f"class-{number}" for number in range(4)]
    assert torch.equal(sample.pictures[2][2], sample.pictures[0][2].flip(-1))
    difference = sample.pictures[3][2].int() - sample.pictures[1][2].flip(-1).int()
    assert difference.abs().max() <= 1 and "codes as colours" in browser.notes[0]


def test_coefficients_are_decoded(tmp_path: Path) -> None:
    tokenizer = BlockDCT(16, 90)
    images = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, 2)
    tokens = tokenizer.encode(images.repeat_interleave(4, 3))
    options = dict(codebook_size=tokenizer.codebook_size, channels=tokenizer.channels, minimum=tokenizer.minimum)
    with StoreWriter(tmp_path / "s", grid=tokenizer.grid, tokenizer=tokenizer.describe(), **options) as writer:
        writer.append(tokens.numpy())
    config = config_of(tmp_path / "s", [], output="embeddings", channels=tokenizer.channels)
    config.data_preprocessor.codebook = None
    browser = make_browser(config, "train")
    (sample,) = browser.samples([2], num_draws=3)
    assert [label for label, _, _ in sample.pictures] == ["data set", "model's input"]
    assert torch.equal(sample.pictures[0][2], sample.pictures[1][2]) and "augments nothing" in browser.notes[1]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(6):
        (folder / "ab"[number % 2]).mkdir(exist_ok=True)
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[..., number % 3], pixels[:4, :4] = 250, rng.integers(256, size=3)  # red, green or blue
        Image.fromarray(pixels).save(folder / "ab"[number % 2] / f"{number}.png")
    return folder


def image_config(folder: Path, model: dict, with_label: bool, **preprocessor: Any) -> Config:
    pipeline = [
        dict(type="mmcv.LoadImageFromFile"),
        dict(type="mmpretrain.RandomFlip", prob=1.0),
        dict(type="mmpretrain.PackInputs"),
    ]
    dataset = dict(type="mmpretrain.CustomDataset", data_prefix=str(folder), with_label=with_label, pipeline=pipeline)
    loader = dict(batch_size=4, dataset=dataset, collate_fn=dict(type="default_collate"))
    preprocessor = {"mean": [10.0] * 3, "std": [50.0] * 3, "to_rgb": True, **preprocessor}
    return Config(
        dict(default_scope="mmpretrain", model=model, data_preprocessor=preprocessor, train_dataloader=loader)
    )


def test_images_are_shown_before_their_pipeline_and_as_the_model_gets_them(images: Path) -> None:
    augments = dict(augments=[dict(type="mmpretrain.Mixup", alpha=1.0)])
    model = dict(type="mmpretrain.ImageClassifier", train_cfg=augments)
    browser = make_browser(image_config(images, model, with_label=True, num_classes=2), "train")
    assert isinstance(browser, ImageBrowser)
    torch.manual_seed(0), np.random.seed(0)
    sample, *_ = browser.samples([0, 5], num_draws=2)
    assert sample.name == "a" and [label for label, _, _ in sample.pictures] == ["image", "draw 1", "draw 2"]
    with Image.open(images / "a" / "0.png") as picture:
        assert np.array_equal(sample.pictures[0][2].movedim(0, -1), picture)
    assert "%" in sample.pictures[1][1]


def test_images_of_a_tokenizer_s_training_are_shown_in_their_colours(images: Path) -> None:
    model = dict(type="seitpp.VQTokenizerTrainer")
    config = image_config(images, model, with_label=False, type="mmpretrain.SelfSupDataPreprocessor")
    (sample,) = make_browser(config, "train").samples([1], num_draws=1)
    before, after = (image.int() for _, _, image in sample.pictures)
    assert (before.flip(-1) - after).abs().max() <= 1


def test_pairs_of_token_adapt_are_images_and_their_tokens(images: Path) -> None:
    model = dict(
        type="seitpp.TokenAdaptPretrain",
        token_adapt=dict(
            type="seitpp.TokenAdapt",
            **dict(codebook_size=6, code_dim=12, grid=4, out_grid=4, dims=8, num_heads=2, head_dims=4, mlp_dims=8),
        ),
        tokenizer=dict(type="seitpp.PatchKMeans", image_size=8, patch_size=2, codebook=GREYS.numpy()),
        augments=[FLIP],
        eval_augments=dict(turned=[FLIP]),
    )
    config = image_config(images, model, with_label=False, mean=[0] * 3, std=[255] * 3)
    config.data_preprocessor.type = "seitpp.TokenPairDataPreprocessor"
    config.val_dataloader = config.train_dataloader
    for phase, label in (("train", "draw 1"), ("val", "turned")):
        browser = make_browser(config, phase)
        assert isinstance(browser, PairBrowser)
        (sample,) = browser.samples([2], num_draws=1)
        assert [name for name, _, _ in sample.pictures] == ["image", "its tokens", label, f"{label}, tokens"]
        image, tokens, augmented, its_tokens = (picture for _, _, picture in sample.pictures)
        assert torch.equal(image.flip(-1), augmented) and torch.equal(tokens.flip(-1), its_tokens)


def test_phase_that_the_config_lacks_is_refused(store: Path) -> None:
    with pytest.raises(
        ValueError, match="the config has no test_dataloader, and so no data of this phase; it has train, val"
    ):
        make_browser(config_of(store, []), "test")
