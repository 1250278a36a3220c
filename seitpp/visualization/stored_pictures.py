"""Samples of a token store as PIL's images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seitpp.storage.source import TokenSource
from seitpp.tokenizers import Tokenizer
from seitpp.visualization.page import as_pil_image
from seitpp.visualization.token_pictures import TokenPictures

_DECODED_AT_A_TIME = 32


class StorePictures:
    """Pictures of stored samples: decoded where their tokenizer can, else their codes as colours, a pixel per code.

    Args:
        reader: The store, or a release.
        tokenizer: What decodes; by default what the store's header describes.
        checkpoint: Weights of the tokenizer that the header describes; by default where it says they are.

    Attributes:
        tokenizer: What decodes, on the CPU; None if pictures are of codes.
        note: A sentence on what the pictures show, and why it is not more.
    """

    def __init__(
        self, reader: TokenSource, tokenizer: Tokenizer | None = None, checkpoint: str | Path | None = None
    ) -> None:
        self.reader = reader
        self._pictures = TokenPictures.of_store(reader, checkpoint, tokenizer)
        self.tokenizer, self.note = self._pictures.tokenizer, self._pictures.note

    def of(self, indices: Sequence[int] | np.ndarray) -> list[Image.Image]:
        """Return a picture of each sample, in this order."""
        indices, pictures = np.asarray(indices, np.int64), []
        for start in range(0, len(indices), _DECODED_AT_A_TIME):
            images = self._pictures.images(self.reader.read(indices[start : start + _DECODED_AT_A_TIME]))
            pictures += [as_pil_image(one) for one in images]
        return pictures
