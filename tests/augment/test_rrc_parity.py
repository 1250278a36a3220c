"""Token-RRC against crops, codes and boxes of the reference; every size comes from the fixture."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.golden import load_golden
from seitpp.augment import BatchRandomResizedCrop, TokenRRC
from seitpp.augment.crops import CropBoxes, crop_boxes_from_draws, crop_resize, crop_resize_codes
from seitpp.tokenizers.codebook import nearest_codes

pytestmark = pytest.mark.parity

TRIES = 10


@pytest.fixture(scope="module")
def golden() -> dict:
    return load_golden("rrc.npz")


@pytest.fixture(scope="module")
def crops(golden: dict) -> str:
    """Key of the crops of the embedded codes: the ones that are recorded as codes, too."""
    (key,) = [key for key in golden if re.fullmatch(r"out/crops\d+_codes", key)]
    return key.removesuffix("_codes")


@pytest.fixture(scope="module")
def map_crops(golden: dict, crops: str) -> str:
    """Key of the crops of the map."""
    (key,) = [key for key in golden if re.fullmatch(r"out/crops\d+", key) and key != crops]
    return key


def boxes_and_size(golden: dict, boxes: str, crops: str) -> tuple[Tensor, tuple[int, int]]:
    return torch.from_numpy(golden[boxes]), golden[crops].shape[-2:]


def embeddings(golden: dict, copies: int) -> Tensor:
    maps = F.embedding(torch.from_numpy(golden["in/codes"]), torch.from_numpy(golden["in/codebook"]))
    return maps.permute(2, 0, 1).expand(copies, -1, -1, -1)


def assert_crops(found: Tensor, expected: np.ndarray) -> None:
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=2e-5, rtol=0)


def test_crops_of_embeddings(golden: dict, crops: str) -> None:
    boxes, size = boxes_and_size(golden, "in/boxes", crops)
    assert_crops(crop_resize(embeddings(golden, len(boxes)), boxes, size), golden[crops])


def test_crops_of_codes(golden: dict, crops: str) -> None:
    boxes, size = boxes_and_size(golden, "in/boxes", crops)
    codes = torch.from_numpy(golden["in/codes"]).expand(len(boxes), -1, -1)
    found = crop_resize_codes(codes, torch.from_numpy(golden["in/codebook"]), boxes, size)
    assert_crops(found.permute(0, 3, 1, 2), golden[crops])


def test_crops_of_a_map(golden: dict, map_crops: str) -> None:
    boxes, size = boxes_and_size(golden, "in/boxes_map", map_crops)
    maps = torch.from_numpy(golden["in/map"]).expand(len(boxes), -1, -1, -1)
    assert_crops(crop_resize(maps, boxes, size), golden[map_crops])


def test_random_resized_crop_of_a_map(golden: dict, map_crops: str) -> None:
    boxes, size = boxes_and_size(golden, "in/boxes_map", map_crops)
    maps = torch.from_numpy(golden["in/map"]).expand(len(boxes), -1, -1, -1)
    params = CropBoxes(boxes, tuple(maps.shape[-2:]))
    assert_crops(BatchRandomResizedCrop(size).apply(maps, params), golden[map_crops])


@pytest.mark.parametrize("kind", ["codes", "embeddings"])
def test_token_rrc(golden: dict, crops: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, size = boxes_and_size(golden, "in/boxes", crops)
    codes = torch.from_numpy(golden["in/codes"]).expand(len(boxes), -1, -1)
    monkeypatch.setattr("seitpp.augment.crops.sample_crop_boxes", lambda *args, **kwargs: boxes)
    inputs = codes if kind == "codes" else embeddings(golden, len(boxes))
    found = TokenRRC(size)({"inputs": inputs, "codebook": torch.from_numpy(golden["in/codebook"])})["inputs"]
    assert_crops(found, golden[crops])


def test_codes_of_crops(golden: dict, crops: str) -> None:
    boxes, size = boxes_and_size(golden, "in/boxes", crops)
    found = crop_resize(embeddings(golden, len(boxes)), boxes, size).permute(0, 2, 3, 1)
    codes = nearest_codes(found, torch.from_numpy(golden["in/codebook"]))
    np.testing.assert_array_equal(codes.numpy(), golden[crops + "_codes"])


def test_codes_of_the_recorded_crops(golden: dict, crops: str) -> None:
    vectors = torch.from_numpy(golden[crops]).permute(0, 2, 3, 1)
    codes = nearest_codes(vectors, torch.from_numpy(golden["in/codebook"]))
    np.testing.assert_array_equal(codes.numpy(), golden[crops + "_codes"])


def test_cropping_one_hot_maps_and_multiplying_by_the_codebook_is_the_same(golden: dict, crops: str) -> None:
    boxes, size = boxes_and_size(golden, "in/boxes", crops)
    table = torch.from_numpy(golden["in/codebook"])
    one_hot = F.one_hot(torch.from_numpy(golden["in/codes"]), len(table)).float().permute(2, 0, 1)
    for box, maps in zip(boxes, crop_resize(embeddings(golden, len(boxes)), boxes, size), strict=True):
        weights = crop_resize(one_hot[None], box[None], size)[0]  # (K, h, w)
        multiplied = torch.einsum("khw,kd->dhw", weights, table)
        torch.testing.assert_close(multiplied, maps, atol=1e-6, rtol=1e-6)


def reference_draws(golden: dict, grid: tuple[int, int]) -> dict[str, Tensor]:
    """What the reference draws for its recorded boxes, in its order: area and log aspect a try, then top and left.

    How far it draws depends on which try fits, so the acceptance is repeated here, in plain Python.
    """
    meta, (rows, columns) = golden["meta"], grid
    torch.manual_seed(meta["torch_seed_sampled_boxes"])
    log_low, log_high = (math.log(value) for value in meta["ratio"])
    draws = {"area": [], "log_ratio": [], "top": [], "left": []}
    for _ in range(len(golden["out/sampled_boxes"])):
        areas, log_ratios, place = [], [], (0.0, 0.0)
        while len(areas) < TRIES:
            areas.append(torch.empty(1).uniform_(*meta["scale"]).item())
            log_ratios.append(torch.empty(1).uniform_(log_low, log_high).item())
            target, aspect = rows * columns * areas[-1], math.exp(log_ratios[-1])
            width, height = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
            if 0 < width <= columns and 0 < height <= rows:
                # The middle of the share of [0, 1) that stands for the place drawn.
                place = tuple(
                    (torch.randint(0, room + 1, (1,)).item() + 0.5) / (room + 1)
                    for room in (rows - height, columns - width)
                )
                break
        padding = [1.0] * (TRIES - len(areas))  # never looked at: an earlier try was accepted
        draws["area"].append(areas + padding)
        draws["log_ratio"].append(log_ratios + padding)
        draws["top"].append(place[0])
        draws["left"].append(place[1])
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in draws.items()}


def test_boxes_of_the_reference_draws(golden: dict) -> None:
    grid = golden["in/codes"].shape
    boxes = crop_boxes_from_draws(**reference_draws(golden, grid), grid=grid, ratio=golden["meta"]["ratio"])
    np.testing.assert_array_equal(boxes.numpy(), golden["out/sampled_boxes"])
