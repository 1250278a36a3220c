"""Pictures of stored samples: decoded as the tokenizer decodes, else as colours of codes, with the reason."""

from pathlib import Path

import numpy as np
import torch

from helpers.classifier import make_trained_classifier
from seitpp.benchmarking.synthetic import make_store
from seitpp.storage import StoreReader
from seitpp.visualization.stored_pictures import StorePictures
from seitpp.visualization.token_pictures import code_colours


def test_tokens_are_decoded_by_the_stores_tokenizer(tmp_path: Path) -> None:
    trained = make_trained_classifier(tmp_path, num_images=3)
    reader = StoreReader(trained.store)
    pictures = StorePictures(reader)
    assert pictures.note == f"Pictures are tokens decoded by {type(trained.tokenizer).__name__}."
    decoded = trained.tokenizer.decode(torch.from_numpy(reader.read([2, 0])).long())
    expected = trained.tokenizer.to_bytes(decoded).permute(0, 2, 3, 1).numpy()
    for picture, pixels in zip(pictures.of([2, 0]), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_stores_without_decoder_show_their_codes_and_say_why(tmp_path: Path) -> None:
    reader = StoreReader(make_store(tmp_path / "store", num_samples=3, grid=(4, 5), codebook_size=16))
    pictures = StorePictures(reader)
    assert "Pictures show codes as colours" in pictures.note and "'synthetic', cannot be built again" in pictures.note
    (picture,) = pictures.of([1])
    (codes,) = reader.read([1])
    colours = code_colours(16, reader.codebook)
    np.testing.assert_array_equal(np.asarray(picture), colours[codes])
    assert len(np.unique(colours, axis=0)) == 16
