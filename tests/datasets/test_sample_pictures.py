"""Pictures of predicted samples: found where the predictions say, or where one is told, and only the right ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.benchmarking.synthetic import make_images, make_store
from seitpp.datasets.sample_pictures import SamplePictures
from seitpp.evaluation.predictions import Predictions
from seitpp.storage import StoreReader


def predicted(source: dict, count: int = 3, **options: object) -> Predictions:
    scores = np.full((count, 2), 0.5, np.float32)
    return Predictions(scores, np.arange(count), np.zeros(count, np.int64), source=source, **options)


def of_store(path: Path) -> Predictions:
    source = {"store": str(path), "content_hash": StoreReader(path).content_hash}
    return predicted(source, store_indices=np.array([2, 0, 1]))


def test_samples_of_a_store_are_found_by_their_index_there(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", num_samples=3, grid=(2, 2), codebook_size=9)
    pictures = SamplePictures(of_store(path))
    assert pictures.can_draw and "codes as colours" in pictures.note
    expected = pictures._pictures.images(StoreReader(path).read([2, 1])).permute(0, 2, 3, 1)
    assert [np.asarray(one).tolist() for one in pictures.of([0, 2])] == expected.tolist()


def test_moved_stores_are_named_and_must_be_the_same(tmp_path: Path) -> None:
    path = make_store(tmp_path / "store", num_samples=3, grid=(2, 2), codebook_size=9)
    predictions = of_store(path)
    path.rename(tmp_path / "moved")
    found = SamplePictures(predictions)
    assert not found.can_draw and found.note.startswith("There are no pictures: ") and "--store" in found.note
    assert SamplePictures(predictions, store=tmp_path / "moved").can_draw
    other = make_store(tmp_path / "other", num_samples=3, grid=(2, 2), codebook_size=9, seed=1)
    with pytest.raises(ValueError, match="other has other content than the store that the predictions are of"):
        SamplePictures(predictions, store=other)
    with pytest.raises(ValueError, match="the predictions are not of image files"):
        SamplePictures(predictions, images=tmp_path)


def test_images_are_found_by_their_names(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", 3, 300)
    predictions = predicted({"images": str(folder)}, 2, names=["0002.png", "0000.png"])
    pictures = SamplePictures(predictions)
    assert [picture.size for picture in pictures.of([0, 1])] == [(256, 256)] * 2
    with Image.open(folder / "0000.png") as image:
        image.thumbnail((256, 256))
        np.testing.assert_array_equal(np.asarray(pictures.of([1])[0]), np.asarray(image))
    (folder / "0000.png").unlink()
    assert "images lacks 1 of the images that were predicted, such as '0000.png'" in SamplePictures(predictions).note


def test_configs_and_addresses_in_a_file_are_not_followed(tmp_path: Path) -> None:
    config = tmp_path / "config.py"
    config.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    for path in (str(config), f"{config},{tmp_path}", f"{tmp_path}, {config}", "https://example.org/images"):
        found = SamplePictures(predicted({"images": path}, names=["a", "b", "c"]))
        assert not found.can_draw and "unasked" in found.note
    assert not (tmp_path / "ran").exists()
