"""Samples of a token store as pictures: decoded where its tokenizer can, else their codes as colours."""

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seitpp.storage import StoreReader
from seitpp.storage.source import TokenSource
from seitpp.tokenizers import Tokenizer, tokenizer_from_store
from seitpp.visualization.page import as_pil_image

_DECODED_AT_A_TIME = 32
_GOLDEN_RATIO = 0.618034  # hues a golden ratio apart differ as much as they can


class StorePictures:
    """Pictures of stored samples.

    Args:
        reader: The store.
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
        self.tokenizer, self.note = tokenizer, "Pictures are decoded tokens."
        if tokenizer is None:
            try:
                self.tokenizer = self._recorded(checkpoint)
            except (ValueError, OSError) as error:
                self._without(str(error))
        if self.tokenizer is not None and not self.tokenizer.can_decode:
            self._without(f"{type(self.tokenizer).__name__} was made without a decoder")
        elif self.tokenizer is not None:
            self.tokenizer.eval()

    def _recorded(self, checkpoint: str | Path | None) -> Tokenizer:
        if not isinstance(self.reader, StoreReader):
            raise ValueError("the files of a release do not say which tokenizer made them")
        return tokenizer_from_store(self.reader, checkpoint)

    def _without(self, reason: str) -> None:
        self.tokenizer = None
        self.note = f"Pictures show codes as colours, a square per code, since tokens cannot be decoded: {reason}."

    def of(self, indices: Sequence[int] | np.ndarray) -> list[Image.Image]:
        """Return a picture of each sample, in this order."""
        indices, pictures = np.asarray(indices, np.int64), []
        for start in range(0, len(indices), _DECODED_AT_A_TIME):
            tokens = self.reader.read(indices[start : start + _DECODED_AT_A_TIME])
            if self.tokenizer is None:
                codebook = getattr(self.reader, "codebook", None)
                pictures += [code_picture(one, self.reader.codebook_size, codebook) for one in tokens]
            else:
                pictures += self._decoded(tokens)
        return pictures

    @torch.no_grad()
    def _decoded(self, tokens: np.ndarray) -> list[Image.Image]:
        pixels = self.tokenizer.to_bytes(self.tokenizer.decode(torch.from_numpy(tokens).long()))
        return [as_pil_image(one) for one in pixels]


def code_picture(tokens: np.ndarray, codebook_size: int, codebook: np.ndarray | None = None) -> Image.Image:
    """Draw codes (H, W) as one coloured pixel each, or the first of C integers per position (H, W, C) as grey.

    Equal codes have equal colours; with a codebook (K, D), codes whose vectors are alike have colours that are alike.
    """
    if tokens.ndim == 3:
        first = tokens[..., 0].astype(np.float64)
        span = max(np.ptp(first), 1)
        return Image.fromarray((255 * (first - first.min()) / span).astype(np.uint8))
    return Image.fromarray(code_colours(codebook_size, codebook)[tokens.astype(np.int64)])


def code_colours(codebook_size: int, codebook: np.ndarray | None = None) -> np.ndarray:
    """Return a colour per code, (K, 3), uint8: the three main axes of the codebook's vectors, or well apart hues."""
    if codebook is None or min(codebook.shape) < 3:
        hues = np.arange(codebook_size) * _GOLDEN_RATIO % 1
        return (255 * np.array([colorsys.hsv_to_rgb(hue, 0.65, 0.9) for hue in hues])).astype(np.uint8)
    centred = codebook.astype(np.float64) - codebook.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)  # of ascending share
    ranks = (centred @ axes[:, :-4:-1]).argsort(axis=0).argsort(axis=0)  # evenly spread, whatever their distribution
    return (255 * ranks / max(len(codebook) - 1, 1)).astype(np.uint8)
