"""A store brings its tokenizer along."""

from pathlib import Path

import numpy as np
import pytest
import torch

from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers import PatchKMeans, tokenizer_from_store


def write(path: Path, tokenizer: PatchKMeans, facts: dict) -> StoreReader:
    with StoreWriter(
        path,
        codebook_size=tokenizer.codebook_size,
        grid=tokenizer.grid,
        tokenizer=facts,
        codebook=tokenizer.codebook.numpy(),
    ) as writer:
        writer.append(np.zeros((1, *tokenizer.grid), np.int64))
    return StoreReader(path)


@pytest.fixture
def fitted() -> PatchKMeans:
    images = torch.rand(20, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    return PatchKMeans((8, 12), 4).fit(images, 5)


def test_tokenizer_is_built_again(fitted: PatchKMeans, tmp_path: Path) -> None:
    again = tokenizer_from_store(write(tmp_path / "s", fitted, {"name": "mine", **fitted.describe()}))
    images = torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.tokenize(images), fitted.tokenize(images))


def test_header_records_the_preprocessing(fitted: PatchKMeans) -> None:
    assert fitted.describe()["preprocessing"] == {
        "pixel_range": [0.0, 1.0],
        "resize": "bicubic with antialiasing to 8 x 12, aspect not kept",
    }


def test_store_of_an_unknown_tokenizer_is_refused(fitted: PatchKMeans, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the store's tokenizer, 'vit-vqgan', cannot be built again"):
        tokenizer_from_store(write(tmp_path / "s", fitted, {"name": "vit-vqgan"}))
