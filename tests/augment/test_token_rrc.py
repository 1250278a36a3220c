"""Token-RRC as a transform of a whole batch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.augment import TokenRRC
from seitpp.augment.crops import crop_labels, crop_resize, sample_crop_boxes
from seitpp.registry import TRANSFORMS


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def toy_batch(dtype: torch.dtype = torch.int64) -> dict:
    codes = torch.randint(0, 50, (4, 12, 10), generator=torch.Generator().manual_seed(0))
    return {"inputs": codes.to(dtype), "codebook": normal(50, 8), "sample_idx": torch.arange(4)}


def run(transform: TokenRRC, batch: dict, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    return transform(batch)


def test_codes_become_crops_of_their_embeddings() -> None:
    batch = toy_batch()
    embeddings = F.embedding(batch["inputs"], batch["codebook"]).permute(0, 3, 1, 2)
    found = run(TokenRRC(7), batch)["inputs"]
    torch.manual_seed(0)
    boxes = sample_crop_boxes(4, (12, 10), (0.08, 1.0), (3 / 4, 4 / 3))
    torch.testing.assert_close(found, crop_resize(embeddings, boxes, (7, 7)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.uint16])
def test_any_integer_type_of_codes_is_taken(dtype: torch.dtype) -> None:
    assert torch.equal(run(TokenRRC(7), toy_batch(dtype))["inputs"], run(TokenRRC(7), toy_batch())["inputs"])


def test_codes_and_their_embeddings_give_the_same() -> None:
    embeddings = toy_batch()
    embeddings["inputs"] = F.embedding(embeddings["inputs"], embeddings["codebook"]).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        run(TokenRRC((7, 5)), embeddings)["inputs"], run(TokenRRC((7, 5)), toy_batch())["inputs"], atol=1e-6, rtol=0
    )


def test_result_has_the_size_asked_for() -> None:
    assert run(TokenRRC((7, 5)), toy_batch())["inputs"].shape == (4, 8, 7, 5)
    assert run(TokenRRC(6), toy_batch())["inputs"].shape == (4, 8, 6, 6)


def test_other_keys_stay_as_they_are() -> None:
    batch = toy_batch() | {"gt_label": torch.arange(4), "anything": object()}
    others = {key: value for key, value in batch.items() if key != "inputs"}
    results = TokenRRC(7)(batch)
    assert results.keys() == batch.keys()
    assert all(results[key] is value for key, value in others.items())


def test_input_is_not_written_to() -> None:
    batch = toy_batch()
    codes, before = batch["inputs"], batch["inputs"].clone()
    TokenRRC(7)(batch)
    assert torch.equal(codes, before)


def test_scale_reaches_the_boxes() -> None:
    batch = toy_batch()
    embeddings = F.embedding(batch["inputs"], batch["codebook"]).permute(0, 3, 1, 2)
    full = torch.tensor([[0, 0, 12, 10]] * 4)
    found = TokenRRC((12, 10), scale=(1.0, 1.0), ratio=(10 / 12, 10 / 12))(batch)["inputs"]
    torch.testing.assert_close(found, crop_resize(embeddings, full, (12, 10)))


def test_ratio_reaches_the_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(*args: object, **kwargs: object) -> Tensor:
        seen.append((args, kwargs))
        return sample_crop_boxes(*args, **kwargs)

    monkeypatch.setattr("seitpp.augment.crops.sample_crop_boxes", record)
    TokenRRC(7, scale=(0.2, 0.9), ratio=(0.5, 2.0))(toy_batch())
    assert seen[0][0][:4] == (4, (12, 10), (0.2, 0.9), (0.5, 2.0))


def test_label_maps_follow_the_crop_of_codes() -> None:
    batch = toy_batch() | {"gt_sem_seg": torch.randint(0, 9, (4, 48, 40))}
    labels = batch["gt_sem_seg"]
    found = run(TokenRRC((6, 5)), batch)["gt_sem_seg"]
    torch.manual_seed(0)
    boxes = sample_crop_boxes(4, (12, 10), (0.08, 1.0), (3 / 4, 4 / 3))
    assert torch.equal(found, crop_labels(labels, boxes, (24, 20), (12, 10)))


def test_one_box_for_the_batch_if_asked_for() -> None:
    same = toy_batch() | {"inputs": toy_batch()["inputs"][:1].expand(4, -1, -1)}
    crops = run(TokenRRC(7, per_sample=False), same)["inputs"]
    torch.testing.assert_close(crops, crops[:1].expand_as(crops), atol=1e-6, rtol=0)


def test_codes_without_a_codebook_are_refused() -> None:
    batch = toy_batch()
    del batch["codebook"]
    with pytest.raises(ValueError, match=r"TokenRRC acts on embeddings, but the inputs are torch\.int64 codes"):
        TokenRRC(7)(batch)


@pytest.mark.parametrize("scale", [(0, 1), (0.5, 0.2), (0.5, 1.5), (-0.1, 0.5)])
def test_wrong_scale_is_refused(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"scale must satisfy 0 < low <= high <= 1, got \("):
        TokenRRC(28, scale=scale)


@pytest.mark.parametrize("ratio", [(0, 1), (2, 1), (-1, 1)])
def test_wrong_ratio_is_refused(ratio: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"ratio must satisfy 0 < low <= high, got \("):
        TokenRRC(28, ratio=ratio)


def test_registry_builds_it() -> None:
    built = TRANSFORMS.build(dict(type="seitpp.TokenRRC", size=28, scale=[0.2, 1.0]))
    assert repr(built) == "TokenRRC(size=(28, 28), scale=(0.2, 1.0), ratio=(0.75, 1.3333333333333333), per_sample=True)"
