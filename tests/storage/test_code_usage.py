"""`seitpp.storage.code_usage`: counts as numpy counts them, and samples in which codes occur."""

from pathlib import Path

import numpy as np
import pytest

from seitpp.storage import StoreReader, StoreWriter
from seitpp.storage.code_usage import count_codes


def written(path: Path, tokens: np.ndarray, **options: int) -> StoreReader:
    options = {"codebook_size": 20, "grid": tokens.shape[1:3], "tokenizer": {"name": "test"}, **options}
    with StoreWriter(path, **options) as writer:
        writer.append(tokens)
    return StoreReader(path)


def test_codes_are_counted_and_their_entropy_is_that_of_the_counts(tmp_path: Path) -> None:
    tokens = np.repeat([[[0, 0], [1, 2]]], 5, axis=0)
    usage = count_codes(written(tmp_path / "s", tokens))
    assert usage.counts[0, :4].tolist() == [10, 5, 5, 0] and usage.num_used == 3
    assert usage.entropy == pytest.approx(1.5) and usage.perplexity == pytest.approx(2**1.5)


def test_examples_are_of_different_samples_and_show_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.random.default_rng(0).integers(19, size=(50, 3, 3))
    tokens[40, 2, 1] = 19
    reader = written(tmp_path / "s", tokens)
    parts = [tokens[:7], tokens[7:]]
    monkeypatch.setattr(reader, "iter_batches", lambda: iter(parts))
    usage = count_codes(reader)
    assert usage.examples[19].tolist() == [[40, 7], [-1, -1], [-1, -1]]
    for code, places in enumerate(usage.examples[:19]):
        holding = np.flatnonzero((tokens == code).any(axis=(1, 2)))[:3]
        assert places[:, 0].tolist() == holding.tolist()
        assert (tokens.reshape(50, 9)[places[:, 0], places[:, 1]] == code).all()


def test_channels_are_counted_apart(tmp_path: Path) -> None:
    tokens = np.zeros((4, 2, 2, 2), int)
    tokens[..., 1] = [[-3, 4], [-3, 4]]
    usage = count_codes(written(tmp_path / "s", tokens, channels=2, minimum=-10))
    assert usage.counts[0, 10] == 16 and usage.counts[1, [7, 14]].tolist() == [8, 8]
    assert usage.examples is None and usage.entropy == pytest.approx(0.5)
