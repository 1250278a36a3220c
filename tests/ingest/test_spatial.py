"""Tokens without a position in the image say so, all the way from tokenizer to training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seitpp.augment import TokenAdaptAugment
from seitpp.datasets import TokenDataset
from seitpp.models import TokenAdapt
from seitpp.storage import StoreReader
from seitpp.tokenizers import PatchKMeans, tokenizer_from_store


@pytest.fixture
def store(class_folder: Callable, make_job: Callable, run_job: Callable, tmp_path: Path) -> Path:
    run_job(make_job(class_folder(tmp_path / "images", per_class=1), tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def scattered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PatchKMeans, "spatial", False)


def test_a_spatial_tokenizer_leaves_no_word_in_the_store(store: Path) -> None:
    assert "spatial" not in StoreReader(store).header["tokenizer"]
    assert "spatial" not in TokenDataset(str(store)).metainfo


def test_another_one_is_recorded_and_built_again(scattered: None, store: Path) -> None:
    reader = StoreReader(store)
    assert reader.header["tokenizer"]["spatial"] is False
    assert TokenDataset(str(store)).metainfo["spatial"] is False
    assert isinstance(tokenizer_from_store(reader), PatchKMeans)


def test_token_adapt_refuses_its_tokens(scattered: None, store: Path) -> None:
    codebook = torch.from_numpy(StoreReader(store).codebook)
    augment = TokenAdaptAugment(TokenAdapt(*codebook.shape, grid=2, out_grid=2, dims=16))
    with pytest.raises(ValueError, match="train holds tokens without a spatial grid"):
        augment.prepare(TokenDataset(str(store)).metainfo, "train", codebook)
