"""The data preprocessor for segmentors: label maps follow their tokens, whatever form the batch comes in."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor

from seitpp.models import TokenDataPreprocessor, TokenSegDataPreprocessor
from seitpp.registry import MODELS

K, D, B, H, W, SCALE = 64, 5, 4, 8, 8, 4


def table() -> Tensor:
    return torch.randn(K, D, generator=torch.Generator().manual_seed(0))


def build(**options: object) -> TokenSegDataPreprocessor:
    return TokenSegDataPreprocessor(**{"codebook": table(), **options})


def painted() -> Tensor:
    """Codes that are all different, so that a place can be followed."""
    codes = torch.stack([torch.randperm(H * W, generator=torch.Generator().manual_seed(seed)) for seed in range(B)])
    return codes.view(B, H, W)


def enlarged(codes: Tensor) -> Tensor:
    return codes.repeat_interleave(SCALE, -2).repeat_interleave(SCALE, -1)


def toy_batch(labels: Tensor | None = None, dtype: torch.dtype = torch.int64, **metainfo: object) -> dict:
    """Codes, and their enlargement as label maps."""
    labels = enlarged(painted()) if labels is None else labels
    samples = []
    for label_map in labels:
        sample = SegDataSample(metainfo={"img_path": "a.png", **metainfo})
        sample.gt_sem_seg = PixelData(data=label_map[None].to(dtype))
        samples.append(sample)
    return {"inputs": painted(), "data_samples": samples}


def labels_of(data: dict) -> Tensor:
    return torch.cat([sample.gt_sem_seg.data for sample in data["data_samples"]])


FLIP = dict(type="seitpp.BatchRandomFlip", prob=0.5)
EDA = dict(type="seitpp.TokenEDA", synonym_prob=0, swap_prob=1)
ODD = dict(type="seitpp.SplitBatch", first=[dict(FLIP, prob=1)], second=[EDA], by="probability")


@pytest.mark.parametrize("augment", [FLIP, EDA, ODD], ids=lambda augment: augment["type"])
@pytest.mark.parametrize("crop_size", [None, 6])
def test_labels_follow_their_tokens(augment: dict, crop_size: int | None) -> None:
    torch.manual_seed(0)
    result = build(augments=[augment], crop_size=crop_size)(toy_batch(), training=True)
    assert not torch.equal(result["inputs"], build(crop_size=crop_size)(toy_batch())["inputs"])
    assert torch.equal(labels_of(result), enlarged(result["inputs"]))


def test_nothing_is_augmented_outside_training() -> None:
    result = build(augments=[FLIP, EDA])(toy_batch())
    assert torch.equal(result["inputs"], painted()) and torch.equal(labels_of(result), enlarged(painted()))


@pytest.mark.parametrize("training", [True, False])
def test_given_samples_are_not_changed(training: bool) -> None:
    batch = toy_batch()
    before = list(batch["data_samples"])
    result = build(augments=[EDA], crop_size=6)(batch, training)
    assert all(one is other for one, other in zip(before, batch["data_samples"], strict=True))
    assert torch.equal(labels_of(batch), enlarged(painted()))
    assert all("img_shape" not in sample for sample in before)
    assert all(sample.img_path == "a.png" for sample in result["data_samples"])


@pytest.mark.parametrize(
    "form",
    [
        lambda codes: codes,
        lambda codes: codes.unsqueeze(1),
        lambda codes: list(codes),
        lambda codes: list(codes.unsqueeze(1)),
        lambda codes: codes.to(torch.uint8),
        lambda codes: tuple(codes.to(torch.int32)),
    ],
    ids=["B H W", "B 1 H W", "H W each", "1 H W each", "uint8", "tuple of int32"],
)
def test_every_form_of_codes_is_taken(form: Callable) -> None:
    inputs = build()({**toy_batch(), "inputs": form(painted())})["inputs"]
    assert inputs.dtype == torch.int64 and torch.equal(inputs, painted())


@pytest.mark.parametrize("output", ["codes", "embeddings"])
def test_output_is_what_the_config_asks_for(output: str) -> None:
    embeddings = F.embedding(painted(), table()).permute(0, 3, 1, 2)
    expected = painted() if output == "codes" else embeddings
    preprocessor = build(output=output)
    assert torch.equal(preprocessor(toy_batch())["inputs"], expected)
    assert torch.equal(preprocessor({**toy_batch(), "inputs": embeddings})["inputs"], expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_come_out_as_losses_take_them(dtype: torch.dtype) -> None:
    result = build(augments=[FLIP])(toy_batch(dtype=dtype), training=True)
    assert labels_of(result).dtype == torch.int64


def test_shapes_for_predictions_are_those_of_the_label_map() -> None:
    (sample, *_) = build()(toy_batch())["data_samples"]
    assert sample.img_shape == sample.ori_shape == (H * SCALE, W * SCALE)
    given = {"img_shape": (9, 9), "ori_shape": (7, 7), "pad_shape": (9, 9)}
    (sample, *_) = build()(toy_batch(**given))["data_samples"]
    assert (sample.img_shape, sample.ori_shape, sample.pad_shape) == ((9, 9), (7, 7), (9, 9))
    (sample, *_) = build(crop_size=6)(toy_batch(**given))["data_samples"]
    assert sample.img_shape == sample.ori_shape == sample.pad_shape == (6 * SCALE, 6 * SCALE)


@pytest.mark.parametrize("samples", [None, [SegDataSample() for _ in range(B)]], ids=["none", "bare"])
def test_batches_without_label_maps_are_taken(samples: list | None) -> None:
    result = build(augments=[FLIP])({"inputs": painted(), "data_samples": samples}, training=True)
    assert result["inputs"].shape == (B, H, W)
    assert (result["data_samples"] is None) == (samples is None)
    assert all("gt_sem_seg" not in sample for sample in result["data_samples"] or ())


def test_label_maps_of_other_sizes_are_refused() -> None:
    batch = toy_batch()
    batch["data_samples"][1] = toy_batch(torch.zeros(1, 3, 3))["data_samples"][0]
    with pytest.raises(
        ValueError, match=r"4 of 4 samples have label maps, of the shapes \[\(1, 3, 3\), \(1, 32, 32\)\]"
    ):
        build()(batch, training=True)


def test_missing_label_map_is_refused() -> None:
    batch = toy_batch()
    batch["data_samples"][2] = SegDataSample()
    with pytest.raises(ValueError, match="3 of 4 samples have label maps"):
        build(crop_size=6)(batch)


def test_each_map_keeps_its_own_size_in_prediction() -> None:
    batch = toy_batch()
    sizes = [(1, 3, 3), (1, 5, 2), (1, 32, 32)]
    for place, size in enumerate(sizes):
        batch["data_samples"][place] = toy_batch(torch.ones(1, *size[1:]), torch.uint8)["data_samples"][0]
    batch["data_samples"][3] = SegDataSample()
    samples = build(augments=[FLIP])(batch)["data_samples"]
    assert [tuple(sample.gt_sem_seg.data.shape) for sample in samples[:3]] == sizes
    assert [sample.ori_shape for sample in samples[:3]] == [(3, 3), (5, 2), (32, 32)]
    assert samples[0].gt_sem_seg.data.dtype == torch.int64 and "gt_sem_seg" not in samples[3]


N = 14  # tokens of a side of the painted grid, whose numbers are below 255


class Enlarging(torch.nn.Module):
    """In TokenAdapt's place: a map of 2 x 2 places a token, and back, that changes nothing."""

    regresses, codebook_size, code_dim, grid = True, None, 2, (N, N)

    def __init__(self, side: int) -> None:
        super().__init__()
        self.out_grid = (side, side)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def convert(self, embeddings: Tensor) -> Tensor:
        """Bilinear, so that coordinates stay coordinates."""
        return F.interpolate(embeddings, scale_factor=2, mode="bilinear", align_corners=False)

    def reverse(self, maps: Tensor) -> Tensor:
        """Means of 2 x 2 places, (B, h, w, D)."""
        return F.avg_pool2d(maps, 2).permute(0, 2, 3, 1)


AFFINE = dict(type="seitpp.BatchRandomAffine", degrees=30, translate=0.2, shear=15, prob=1)
CROP = dict(type="seitpp.BatchRandomResizedCrop", scale=(0.25, 1.0))


@pytest.mark.parametrize("through_token_adapt", [False, True], ids=["tokens", "TokenAdapt"])
@pytest.mark.parametrize(
    "augment",
    [
        dict(FLIP, prob=1),
        AFFINE,
        dict(AFFINE, scale=(1.0, 1.4)),
        dict(CROP, size=N),
        dict(CROP, size=N - 4),
        dict(type="seitpp.BatchCenterCrop", size=N - 4),
    ],
    ids=["flip", "affine", "scaled affine", "crop", "smaller crop", "centre crop"],
)
def test_painted_places_stay_together_to_within_a_token(augment: dict, through_token_adapt: bool) -> None:
    """Tokens hold the place they come from, and label maps its number; both are compared after the augmentation."""
    torch.manual_seed(0)
    side = augment.get("size", N)
    if through_token_adapt:
        inner = {**augment, "size": 2 * side} if "size" in augment else augment
        augment = dict(type="seitpp.TokenAdaptAugment", token_adapt=Enlarging(side), augments=[inner])
    numbers = enlarged(torch.arange(N * N).view(1, N, N).expand(B, N, N))
    places = torch.stack(torch.meshgrid(torch.arange(N), torch.arange(N), indexing="ij")).float()
    batch = {**toy_batch(numbers, torch.uint8), "inputs": places.expand(B, 2, N, N).contiguous()}
    preprocessor = build(codebook=torch.randn(K, 2), augments=[augment], output="embeddings")
    result = preprocessor(batch, training=True)
    labels = labels_of(result)
    assert labels.shape == (B, SCALE * side, SCALE * side) and result["inputs"].shape == (B, 2, side, side)
    rows, columns = labels // N, labels % N
    # A token that shows an edge of the image is blended with what lies outside of it.
    at_edge = (labels == 255) | (rows % (N - 1) == 0) | (columns % (N - 1) == 0)
    inside = enlarged(F.max_pool2d(at_edge.float()[:, None], SCALE)[:, 0]) == 0
    found_rows, found_columns = enlarged(result["inputs"]).unbind(1)
    distance = torch.maximum((rows - found_rows).abs(), (columns - found_columns).abs())
    assert inside.float().mean() > 0.3
    assert distance[inside].max() <= 1
    assert not torch.equal(labels[0], numbers[0, : SCALE * side, : SCALE * side])


def test_grids_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tokens of the shapes \[\(7, 8\), \(8, 8\)\], expected one grid"):
        build()({**toy_batch(), "inputs": [*painted()[:3], painted()[3, :7]]})


@pytest.mark.parametrize("inputs", [torch.zeros(B, 3, H, W, dtype=torch.uint8), torch.zeros(B, H, W)])
def test_other_inputs_are_refused(inputs: Tensor) -> None:
    with pytest.raises(ValueError, match=r"inputs are torch\.\w+ of shape \(4, .*expected integer codes \(B, H, W\)"):
        build()({**toy_batch(), "inputs": inputs})


def test_label_map_that_the_crop_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="6 of 8 tokens are no whole number of a label map's 9 values"):
        build(crop_size=6)(toy_batch(torch.zeros(B, 9, 9)))


def test_registry_builds_it_with_the_keys_of_mmseg() -> None:
    config = dict(type="seitpp.TokenSegDataPreprocessor", codebook=table().numpy(), test_cfg=None, batch_augments=None)
    assert isinstance(MODELS.build(config), TokenDataPreprocessor)
    with pytest.raises(ValueError, match=r"test_cfg is \{'size': \(8, 8\)\}, but tokens cannot be resized"):
        MODELS.build({**config, "test_cfg": dict(size=(8, 8))})
