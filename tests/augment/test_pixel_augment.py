"""PixelAugment: what it computes, what it keeps out of the model, and what it refuses."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import DefaultScope
from torch import Tensor

from seitpp.augment import PixelAugment
from seitpp.datasets import TokenDataset
from seitpp.registry import MODELS, TRANSFORMS
from seitpp.storage import StoreWriter
from seitpp.tokenizers import VQGAN, BlockDCT, PatchKMeans, Tokenizer, ViTVQGAN
from seitpp.tokenizers.codebook import codebook_sha256

STACK = dict(dims=16, depth=1, num_heads=2, head_dims=8, mlp_dims=32)
CONV = dict(channels=32, multipliers=(1, 1), num_res_blocks=1, attention_at=(), resolution=16, z_channels=4)
VITVQGAN = dict(arch=dict(encoder=STACK, decoder=STACK), image_size=16, patch_size=4, codebook_size=20, code_dim=8)
KINDS = ["k-means", "ViT-VQGAN", "VQGAN", "DCT"]
EDA = dict(type="seitpp.TokenEDA", synonym_prob=0)
FLIP = dict(type="seitpp.BatchRandomFlip", prob=1.0)


def tokenizer_of(kind: str) -> Tokenizer:
    """One with random weights, whose codes are of flat or of noisy images alike."""
    torch.manual_seed(0)
    if kind == "k-means":
        return PatchKMeans(8, 2, codebook=torch.rand(20, 12))
    if kind == "ViT-VQGAN":
        return ViTVQGAN(**VITVQGAN)
    if kind == "VQGAN":
        return VQGAN({**CONV, "codebook_size": 20, "code_dim": 4}, image_size=8)
    return BlockDCT(32, quality=80, luma_coefficients=6, chroma_coefficients=2)


def batch_of(tokenizer: Tokenizer, size: int = 3, **others: object) -> dict:
    """What the data preprocessor hands to augmentations, of images that differ from left to right."""
    torch.manual_seed(1)
    low, high = tokenizer.pixel_range
    tokens = tokenizer.encode(torch.rand(size, 3, *tokenizer.image_size) * (high - low) + low)
    batch = {"sample_idx": torch.arange(size), **others}
    if tokenizer.codebook is None:
        return {"inputs": tokens.movedim(-1, 1).float(), **batch}
    codebook = tokenizer.codebook.detach().clone()
    return {"inputs": tokens, "codebook": codebook, "distance": tokenizer.distance, **batch}


def by_hand(tokenizer: Tokenizer, inputs: Tensor, change: Callable[[Tensor], Tensor] = lambda images: images) -> Tensor:
    """Decoded, changed and encoded without the transform."""
    low, high = tokenizer.pixel_range
    if tokenizer.codebook is not None:
        return tokenizer.encode(change(tokenizer.decode(inputs).clamp(low, high)))
    images = tokenizer.decode(inputs.movedim(1, -1).long()).clamp(low, high)
    return tokenizer.encode(change(images)).movedim(-1, 1).float()


def embedded(batch: dict) -> dict:
    rows = F.embedding(batch["inputs"], batch["codebook"]).movedim(-1, 1)
    return {**batch, "inputs": rows}


# What it computes


@pytest.mark.parametrize("kind", KINDS)
def test_without_augmentations_tokens_are_decoded_and_encoded(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    batch = batch_of(tokenizer)
    found = PixelAugment(tokenizer)(dict(batch))["inputs"]
    assert torch.equal(found, by_hand(tokenizer, batch["inputs"]))
    assert found.dtype == (torch.float32 if kind == "DCT" else torch.int64)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_flipped(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    batch = batch_of(tokenizer)
    found = PixelAugment(tokenizer, [FLIP])(dict(batch))["inputs"]
    assert torch.equal(found, by_hand(tokenizer, batch["inputs"], lambda images: images.flip(-1)))
    assert not torch.equal(found, by_hand(tokenizer, batch["inputs"]))


def test_tokens_survive_a_tokenizer_that_loses_nothing() -> None:
    tokenizer = tokenizer_of("k-means")
    batch = batch_of(tokenizer)
    assert torch.equal(PixelAugment(tokenizer)(dict(batch))["inputs"], batch["inputs"])
    flipped = PixelAugment(tokenizer, [FLIP, FLIP])(dict(batch))["inputs"]
    assert torch.equal(flipped, batch["inputs"])


def test_sizes_are_in_pixels() -> None:
    tokenizer = tokenizer_of("k-means")
    batch = batch_of(tokenizer)
    found = PixelAugment(tokenizer, [dict(type="seitpp.BatchCenterCrop", size=4)])(dict(batch))["inputs"]
    assert torch.equal(found, batch["inputs"][:, 1:3, 1:3])


@pytest.mark.parametrize("kind", ["ViT-VQGAN", "VQGAN"])
def test_augmentations_see_images_in_0_to_1_whatever_the_range(kind: str) -> None:
    tokenizer, seen = tokenizer_of(kind), {}
    augment, labels = PixelAugment(tokenizer), torch.arange(3)
    augment.children.append(lambda results: seen.update(results) or results)
    batch = batch_of(tokenizer, gt_label=labels, num_classes=7)
    augment(batch)
    low, high = tokenizer.pixel_range
    images = tokenizer.decode(batch_of(tokenizer)["inputs"]).clamp(low, high)
    torch.testing.assert_close(seen["inputs"], (images - low) / (high - low))
    assert seen["gt_label"] is labels and seen["num_classes"] == 7


def test_pixels_stay_in_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, encoded = tokenizer_of("k-means"), []
    encode = tokenizer.encode
    monkeypatch.setattr(tokenizer, "encode", lambda images: encoded.append(images) or encode(images))
    augment = PixelAugment(tokenizer)
    augment.children.append(lambda results: {**results, "inputs": results["inputs"] * 3 - 1})
    augment(batch_of(tokenizer))
    assert (encoded[-1].min(), encoded[-1].max()) == (0, 1)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_embeddings_give_what_their_codes_give(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    batch = batch_of(tokenizer)
    expected = PixelAugment(tokenizer, [FLIP])(dict(batch))["inputs"]
    assert torch.equal(PixelAugment(tokenizer, [FLIP])(embedded(batch))["inputs"], expected)


def test_nearest_codes_are_found_by_the_distance_of_the_batch() -> None:
    tokenizer = PatchKMeans(2, 1, codebook=torch.tensor([[0.1, 0.1, 0.1], [1.0, 1.0, 0.9]]))
    inputs = torch.tensor([0.8, 0.8, 0.8])[:, None, None].expand(1, 3, 2, 2)
    for others, code in ((dict(distance="cosine"), 0), (dict(distance="euclidean"), 1), ({}, 1)):  # else its own
        batch = {"inputs": inputs, "codebook": tokenizer.codebook, **others}
        assert (PixelAugment(tokenizer)(batch)["inputs"] == code).all()


def test_values_between_and_outside_those_of_the_tokenizer_are_taken() -> None:
    tokenizer = tokenizer_of("DCT")
    batch = batch_of(tokenizer)
    expected = PixelAugment(tokenizer)(dict(batch))["inputs"]
    near = PixelAugment(tokenizer)({**batch, "inputs": batch["inputs"] + 0.4})["inputs"]
    assert torch.equal(near, expected)
    assert PixelAugment(tokenizer)({**batch, "inputs": batch["inputs"] * 1e6})["inputs"].isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_batch_in_pieces_gives_what_it_gives_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, sizes = tokenizer_of(kind), []
    augment, batch = PixelAugment(tokenizer, [FLIP]), batch_of(tokenizer, 5)
    at_once = augment(dict(batch))["inputs"]
    decode = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda tokens: sizes.append(len(tokens)) or decode(tokens))
    monkeypatch.setattr("seitpp.tokenizers.encoding._CPU_PIXELS", 2 * math.prod(tokenizer.image_size))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert torch.equal(augment(dict(batch))["inputs"], at_once) and sizes == [2, 2, 1]


def test_soft_targets_and_images_are_mixed_alike() -> None:
    greys = PatchKMeans(4, 2, codebook=torch.linspace(0, 1, 11)[:, None].expand(11, 12))
    codes = torch.tensor([0, 10])[:, None, None].expand(2, 2, 2)
    batch = {"inputs": codes, "codebook": greys.codebook, "gt_label": torch.tensor([0, 1]), "num_classes": 2}
    torch.manual_seed(0)
    results = PixelAugment(greys, [dict(type="seitpp.BatchMixup", alpha=1.0)])(batch)
    share = results["gt_score"][:, 1]
    assert torch.equal(results["inputs"][:, 0, 0], (share * 10).round().long()) and 0.05 < share[0] < 0.95
    torch.testing.assert_close(results["gt_score"].sum(dim=1), torch.ones(2))


def test_label_maps_follow_the_flip() -> None:
    tokenizer, painted = tokenizer_of("k-means"), torch.arange(8).expand(3, 8, 8)
    results = PixelAugment(tokenizer, [FLIP])(batch_of(tokenizer, gt_sem_seg=painted))
    assert torch.equal(results["gt_sem_seg"], painted.flip(-1))


def test_what_geometry_uncovers_is_black_in_every_range() -> None:
    move = dict(type="seitpp.BatchRandomAffine", translate=1.0)
    for kind in ("k-means", "VQGAN"):
        tokenizer, seen = tokenizer_of(kind), []
        augment = PixelAugment(tokenizer, [move])
        augment.children.append(lambda results, seen=seen: seen.append(results["inputs"]) or results)
        torch.manual_seed(0)
        augment(batch_of(tokenizer))
        assert (seen[0][..., 0, :] == 0).any()


@pytest.mark.parametrize("by", ["half", "probability"])
def test_it_works_in_a_part_of_a_batch(by: str) -> None:
    tokenizer = tokenizer_of("k-means")
    batch = batch_of(tokenizer, 6)
    second = [dict(type="seitpp.PixelAugment", tokenizer=tokenizer, augments=[FLIP])]
    split = TRANSFORMS.build(dict(type="seitpp.SplitBatch", first=[], second=second, by=by))
    torch.manual_seed(2)
    found = split(dict(batch))["inputs"]
    flipped = PixelAugment(tokenizer, [FLIP])(dict(batch))["inputs"]
    changed = (found == flipped).flatten(1).all(dim=1)
    assert torch.equal(found[~changed], batch["inputs"][~changed]) and 0 < changed.sum() < 6
    if by == "half":
        assert changed.tolist() == [False] * 3 + [True] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_changes_nothing(kind: str) -> None:
    tokenizer, seen = tokenizer_of(kind), []
    augment, batch = PixelAugment(tokenizer, [FLIP]), batch_of(tokenizer)
    augment.children.append(lambda results: seen.append((results["inputs"] @ results["inputs"]).dtype) or results)
    expected = augment(dict(batch))["inputs"]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment({**batch, "network_dtype": torch.bfloat16})["inputs"], expected)
    assert seen == [torch.float32] * 2


def test_tokenizers_own_precision_is_kept() -> None:
    tokenizer, seen = ViTVQGAN(**VITVQGAN, precision="bfloat16"), []
    tokenizer.encoder.pre_quant.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    PixelAugment(tokenizer)(batch_of(tokenizer))
    assert set(seen) == {torch.bfloat16}


# Building the tokenizer, and keeping it apart


def test_tokenizer_is_built_once_and_draws_nothing() -> None:
    augment = PixelAugment(dict(type="seitpp.ViTVQGAN", **VITVQGAN))
    codes = torch.zeros(1, 4, 4, dtype=torch.int64)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    augment.prepare({"grid": [4, 4]}, "STORE")
    assert torch.equal(torch.rand(4), expected)
    first = augment({"inputs": codes})["inputs"]
    assert torch.equal(augment({"inputs": codes})["inputs"], first)


def test_tokenizer_of_a_store_is_taken(tmp_path: Path) -> None:
    tokenizer = tokenizer_of("k-means")
    batch = batch_of(tokenizer)
    with StoreWriter(
        tmp_path / "store",
        codebook_size=20,
        grid=(4, 4),
        tokenizer=tokenizer.describe(),
        codebook=tokenizer.codebook.numpy(),
        label_kind="none",
    ) as writer:
        writer.append(batch["inputs"].numpy())
    augment = PixelAugment(str(tmp_path / "store"), [FLIP])
    dataset = TokenDataset(str(tmp_path / "store"))
    augment.prepare(dataset.metainfo, "STORE", batch["codebook"], codebook_sha256(batch["codebook"]))
    expected = PixelAugment(tokenizer, [FLIP])(dict(batch))["inputs"]
    assert torch.equal(augment(dict(batch))["inputs"], expected)


def test_missing_store_is_told_of_when_it_is_needed(tmp_path: Path) -> None:
    augment = PixelAugment(tmp_path / "none")
    with pytest.raises(ValueError, match=r"none is not a token store: it has no header.json"):
        augment.prepare({"grid": [4, 4]}, "STORE")


def test_nothing_has_a_gradient() -> None:
    tokenizer = tokenizer_of("ViT-VQGAN").train()
    batch = embedded(batch_of(tokenizer))
    augment = PixelAugment(tokenizer)
    assert not augment({**batch, "inputs": batch["inputs"].requires_grad_()})["inputs"].requires_grad
    assert not tokenizer.training and not any(parameter.requires_grad for parameter in tokenizer.parameters())


def model_with(augments: list[dict], codebook: Tensor) -> torch.nn.Module:
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
    preprocessor = dict(
        type="seitpp.TokenDataPreprocessor", codebook=codebook, augments=augments, output="embeddings", num_classes=3
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(
            dict(
                type="mmpretrain.ImageClassifier",
                backbone=dict(type="seitpp.TokenViT", arch=arch, grid_size=4, patch_size=2, code_dim=8),
                head=dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=16),
                data_preprocessor=preprocessor,
            )
        )


def test_model_trains_with_it_and_does_not_contain_it() -> None:
    tokenizer = tokenizer_of("ViT-VQGAN")
    batch = batch_of(tokenizer, gt_label=torch.arange(3))
    codebook = batch.pop("codebook")
    mixup = dict(type="seitpp.BatchMixup", alpha=0.8)
    config = dict(type="seitpp.PixelAugment", tokenizer=tokenizer, augments=[FLIP, mixup])
    model, plain = model_with([config], codebook), model_with([], codebook)
    data = model.data_preprocessor(batch, training=True)
    loss = model(**data, mode="loss")["loss"]
    loss.backward()
    assert loss.isfinite() and data["data_samples"][0].gt_score.sum() == pytest.approx(1)
    average = ExponentialMovingAverage(model)
    average.update_parameters(model)
    for owner in (model, average.module):
        assert owner.state_dict().keys() == plain.state_dict().keys()
        assert not [module for module in owner.modules() if isinstance(module, Tokenizer)]
    optimizer = torch.optim.AdamW(model.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(plain.parameters()))
    (ours,), (theirs,) = (part.data_preprocessor.augments.transforms for part in (model, average.module))
    assert ours is not theirs and ours._tokenizer is theirs._tokenizer and copy.deepcopy(ours)._tokenizer is not None


# Data that does not fit


def without_decoder() -> Tokenizer:
    tokenizer = tokenizer_of("ViT-VQGAN")
    tokenizer.decoder = None
    return tokenizer


def prepare(tokenizer: Tokenizer, augments: list[dict], **facts: object) -> None:
    codebook = tokenizer.codebook
    known = dict(grid=list(tokenizer.grid), channels=tokenizer.channels, tokenizer=tokenizer.describe())
    PixelAugment(tokenizer, augments).prepare(
        {**known, **facts}, "STORE", codebook, None if codebook is None else codebook_sha256(codebook)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_data_that_fits_are_taken(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    crop = dict(type="seitpp.BatchRandomResizedCrop", size=tokenizer.image_size)
    prepare(tokenizer, [FLIP, crop])
    prepare(tokenizer, [FLIP, crop], grid=[3, 5])  # networks take other grids, too


@pytest.mark.parametrize("facts", [dict(spatial=False), dict(grid=[16])])
def test_tokens_without_a_spatial_grid_are_refused_before_anything_is_built(facts: dict) -> None:
    with pytest.raises(ValueError, match=r"STORE holds tokens without a spatial grid: .* Leave PixelAugment out"):
        PixelAugment(dict(type="seitpp.Nothing")).prepare(facts, "STORE")


def test_tokenizer_without_a_spatial_grid_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatchKMeans, "spatial", False)
    with pytest.raises(ValueError, match="PixelAugment cannot augment STORE: PatchKMeans has no spatial grid"):
        prepare(tokenizer_of("k-means"), [])


def test_tokenizer_without_a_decoder_is_refused() -> None:
    tokenizer = without_decoder()
    with pytest.raises(ValueError, match="augment STORE: ViTVQGAN has no decoder; give it a checkpoint with its dec"):
        prepare(tokenizer, [])
    with pytest.raises(ValueError, match="ViTVQGAN has no decoder"):
        PixelAugment(tokenizer)(batch_of(tokenizer))


@pytest.mark.parametrize("given", [None, 3, dict(image_size=8)])
def test_what_is_no_tokenizer_is_refused(given: object) -> None:
    with pytest.raises(
        ValueError, match=r"tokenizer is .*, expected its config \(a dict with a type\), the folder of a"
    ):
        PixelAugment(given)


def test_another_network_is_refused() -> None:
    with pytest.raises(
        ValueError, match="augment STORE: Linear is no tokenizer; expected one that encodes and decodes"
    ):
        PixelAugment(torch.nn.Linear(2, 2)).prepare({}, "STORE")


def test_tokenizer_of_another_codebook_is_refused() -> None:
    tokenizer = tokenizer_of("k-means")
    batch = batch_of(tokenizer)
    message = r"its PatchKMeans and the (data|batch) belong to different tokenizers: codebook_sha256 \w+ and \w+\."
    with pytest.raises(ValueError, match=f"PixelAugment cannot augment STORE: {message}"):
        PixelAugment(tokenizer).prepare({"grid": [4, 4], "channels": None}, "STORE", -batch["codebook"])
    with pytest.raises(ValueError, match=message):
        PixelAugment(tokenizer)({**batch, "codebook": -batch["codebook"]})


def test_codes_and_coefficients_are_not_taken_for_each_other() -> None:
    with pytest.raises(
        ValueError, match="STORE: its BlockDCT and the data belong to different tokenizers: channels 10 and none"
    ):
        PixelAugment(tokenizer_of("DCT")).prepare({"channels": None}, "STORE", torch.zeros(20, 12))
    with pytest.raises(
        ValueError, match="STORE: its PatchKMeans and the data belong to different tokenizers: channels none and 10"
    ):
        PixelAugment(tokenizer_of("k-means")).prepare({"channels": 10}, "STORE")
    with pytest.raises(
        ValueError, match="its BlockDCT and the batch belong to different tokenizers: channels 10 and 9"
    ):
        PixelAugment(tokenizer_of("DCT"))({"inputs": torch.zeros(1, 9, 4, 4)})


def test_coefficients_of_another_quality_are_refused() -> None:
    known = BlockDCT(32, quality=50, luma_coefficients=6, chroma_coefficients=2).describe()
    with pytest.raises(ValueError, match=r"different tokenizers: quality 80 and 50. Use the tokenizer that made"):
        PixelAugment(tokenizer_of("DCT")).prepare({"channels": 10, "tokenizer": known}, "STORE")
    resized = {**tokenizer_of("DCT").describe(), "resize": "taming"}
    PixelAugment(tokenizer_of("DCT")).prepare({"channels": 10, "tokenizer": resized}, "STORE")


@pytest.mark.parametrize("inner", [dict(type="seitpp.ToCodes"), dict(type="seitpp.OneOf", transforms=[EDA])])
def test_augmentations_of_tokens_are_refused_among_those_of_images(inner: dict) -> None:
    with pytest.raises(
        ValueError, match=r"augments act on images, and (ToCodes|TokenEDA) acts on tokens; put it before"
    ):
        PixelAugment(tokenizer_of("k-means"), [FLIP, inner])


def test_sizes_that_cannot_be_encoded_are_refused() -> None:
    crop = dict(type="seitpp.BatchRandomResizedCrop", size=7)
    message = r"its augments leave images of 7 x 7 pixels, which PatchKMeans cannot encode \(.* multiples of 2\)"
    with pytest.raises(ValueError, match=f"PixelAugment cannot augment STORE: {message}"):
        prepare(tokenizer_of("k-means"), [crop, FLIP])
    with pytest.raises(ValueError, match=message):
        prepare(tokenizer_of("k-means"), [crop, dict(type="seitpp.RandomApply", transforms=FLIP)])
    prepare(tokenizer_of("k-means"), [dict(type="seitpp.OneOf", transforms=[crop, FLIP])])  # nobody knows yet
    tiles = ViTVQGAN(**{**VITVQGAN, "image_size": 16}, positions="tiles", tile_size=8)
    with pytest.raises(ValueError, match=r"its tokens give images of 12 x 16 pixels, which ViTVQGAN .* cut into tiles"):
        prepare(tiles, [], grid=[3, 4])
