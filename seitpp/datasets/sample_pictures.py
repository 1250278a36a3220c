"""Pictures of the samples that predictions are of: image files, or decoded tokens of a store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seitpp.evaluation.predictions import Predictions
from seitpp.images.decoding import MAX_PIXELS, UnreadableImageError, decode_image
from seitpp.ingest.sources import ImageSource, open_image_source
from seitpp.ingest.sources.files import is_url
from seitpp.ingest.sources.merged import paths_of
from seitpp.storage import is_release, open_source
from seitpp.visualization.page import as_pil_image
from seitpp.visualization.token_pictures import TokenPictures

_SIDE_PIXELS = 256  # of larger images, which are shown smaller


class SamplePictures:
    """Pictures of predicted samples, by their row.

    Args:
        predictions: What is known of the samples.
        store: The store, where it is no longer where it was.
        images: The images, where they are no longer where they were: a folder, a list, tar files, or a config, which
            is run. A config that the predictions name is not run.
        split: Sub-folder or split of `images`.
        checkpoint: Weights of the store's tokenizer, where they are no longer where they were.

    Attributes:
        note: A sentence on what the pictures show, or why there are none.
        can_draw: Whether there are pictures.

    Raises:
        FileNotFoundError: There is nothing at a path that was given.
        ValueError: What was given are other samples.
    """

    def __init__(
        self,
        predictions: Predictions,
        store: str | Path | None = None,
        images: str | Path | None = None,
        split: str | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.predictions = predictions
        self._pictures: TokenPictures | None = None
        self._images: ImageSource | None = None
        self._numbers: dict[str, int] = {}
        if store is not None or images is not None:
            self._open(store, images, split, checkpoint)
            return
        try:
            self._open_recorded(checkpoint)
        except (ValueError, OSError) as error:
            if checkpoint is not None:
                raise
            self.note = f"There are no pictures: {error}. Name the store (--store) or the images (--images)."

    @property
    def can_draw(self) -> bool:
        return self._pictures is not None or self._images is not None

    def _open_recorded(self, checkpoint: str | Path | None) -> None:
        source = self.predictions.source
        images = source.get("images", "")
        if "store" in source:
            self._open(source["store"], None, None, checkpoint)
        elif is_url(images):
            raise ValueError(f"the images are at {images}, from where nothing is fetched unasked")
        elif any(one.endswith(".py") for one in paths_of(images)):
            raise ValueError(f"the images are those of the config {images}, which is not run unasked")
        elif "images" in source:
            options = {key: source[key] for key in ("root", "max_pixels") if key in source}
            self._open_images(source["images"], source.get("split"), **options)
        else:
            raise ValueError(f"the predictions do not say where their samples ({source.get('name', 'unknown')}) are")

    def _open(
        self,
        store: str | Path | None,
        images: str | Path | None,
        split: str | None,
        checkpoint: str | Path | None,
    ) -> None:
        if store is None:
            self._open_images(str(images), split)
            return
        if self.predictions.store_indices is None:
            raise ValueError(f"the predictions are not of samples of a store, and {store} was named")
        reader = open_source(store)
        expected = self.predictions.source.get("content_hash")
        if expected not in (None, reader.stream_sha256 if is_release(store) else reader.content_hash):
            raise ValueError(f"{store} has other content than the store that the predictions are of")
        self._pictures, self._reader = TokenPictures.of_store(reader, checkpoint), reader
        self.note = self._pictures.note

    def _open_images(self, path: str, split: str | None, root: str | None = None, max_pixels: int = MAX_PIXELS) -> None:
        if self.predictions.names is None:
            raise ValueError(f"the predictions are not of image files, and {path} was named")
        source = open_image_source(path, split=split, root=root, max_pixels=max_pixels, unlabelled=True)
        self._numbers = {name: number for number, name in enumerate(source.names)}
        if absent := [name for name in self.predictions.names if name not in self._numbers]:
            raise ValueError(f"{path} lacks {len(absent)} of the images that were predicted, such as {absent[0]!r}")
        self._images, self.note = source, "Pictures are the image files."

    def of(self, rows: Sequence[int] | np.ndarray) -> list[Image.Image]:
        """Return a picture of each of some rows of the predictions, at most 256 pixels a side for image files."""
        rows = [int(row) for row in rows]
        if self._pictures is not None:
            tokens = self._reader.read(self.predictions.store_indices[rows])
            return [as_pil_image(one) for one in self._pictures.images(tokens)]
        return [self._image(self.predictions.names[row]) for row in rows]

    def _image(self, name: str) -> Image.Image:
        try:
            image = decode_image(self._images.read(self._numbers[name]), 3, self._images.max_pixels)
        except (UnreadableImageError, OSError) as error:
            raise ValueError(f"image {name} cannot be read: {error}") from error
        image.thumbnail((_SIDE_PIXELS, _SIDE_PIXELS))
        return image
