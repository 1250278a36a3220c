"""Tokens as pictures: decoded where their tokenizer can be built again, otherwise their codes as colours."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.images.label_maps import distinct_colours
from seitpp.storage import StoreReader
from seitpp.storage.source import TokenSource
from seitpp.tokenizers import Tokenizer
from seitpp.tokenizers.codebook import NEAREST_CODES
from seitpp.tokenizers.encoding import decoded_pixels, nearest_tokens
from seitpp.tokenizers.from_store import tokenizer_from_store

_GAP = 2  # white pixels between tiles
_SHOWN_SHARE = 0.02  # of the values of a colour at either end that are cut off


class TokenPictures:
    """Turns tokens into images.

    Args:
        tokenizer: What made the tokens; None shows codes as colours.
        codebook: Vectors of the codes (K, D): similar codes then have similar colours.
        codebook_size: Number of codes K, where there is no codebook.
        channels: Integers per position of tokens without a codebook.
        reason: Why there is no tokenizer, for `note`.

    Attributes:
        decodes: Whether pictures are decoded.
        note: What pictures show, for those who look at them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        codebook: np.ndarray | Tensor | None = None,
        codebook_size: int = 1,
        channels: int | None = None,
        reason: str = "there is no tokenizer",
    ) -> None:
        if tokenizer is not None and not tokenizer.can_decode:
            reason, tokenizer = f"the weights of {type(tokenizer).__name__} have no decoder", None
        self.tokenizer, self._colours = tokenizer, None
        self.decodes = tokenizer is not None
        if self.decodes:
            self.note = f"Pictures are tokens decoded by {type(tokenizer).__name__}."
            return
        if channels is not None:
            kind = "of each position the first integers, as red, green and blue"
        elif codebook is None:
            self._colours = torch.from_numpy(code_colours(codebook_size))
            kind = "a colour of its own for each code"
        else:
            self._colours = torch.from_numpy(code_colours(len(codebook), np.asarray(codebook)))
            kind = "codes with similar vectors have similar colours"
        self.note = f"Pictures show codes as colours, not images: {kind}. Tokens cannot be decoded here, since {reason}"

    @classmethod
    def of_store(
        cls, reader: TokenSource, checkpoint: str | Path | None = None, tokenizer: Tokenizer | None = None
    ) -> "TokenPictures":
        """Take a tokenizer, or build that of a store if possible, with the weights `checkpoint` or those that it names.

        A `checkpoint` that is not that of the store is a `ValueError`.
        """
        reason = ""
        if tokenizer is None and not isinstance(reader, StoreReader):
            reason = "the files of a release do not say which tokenizer made them."
        elif tokenizer is None:
            try:
                tokenizer = tokenizer_from_store(reader, checkpoint)
            except (ValueError, OSError) as error:
                if checkpoint is not None:
                    raise
                reason = f"{error}."
        codebook = getattr(reader, "codebook", None)
        return cls(tokenizer and tokenizer.eval(), codebook, reader.codebook_size, reader.channels, reason)

    @torch.no_grad()
    def images(self, tokens: np.ndarray | Tensor) -> Tensor:
        """Return images (B, C, H, W), uint8, of tokens (B, h, w) or (B, h, w, channels).

        Decoded, or codes as colours, one pixel per code; of channels the first three, each over its range here.
        """
        tokens = torch.as_tensor(tokens.astype(np.int64) if isinstance(tokens, np.ndarray) else tokens).long()
        if self.decodes:
            return self.tokenizer.to_bytes(decoded_pixels(self.tokenizer, tokens))
        if tokens.ndim == 3:
            return self._colours[tokens.clamp(0, len(self._colours) - 1)].movedim(-1, 1)
        shown = tokens[..., :3] if tokens.shape[-1] >= 3 else tokens[..., :1]
        return _over_range(shown.flatten(0, 2).float()).reshape(shown.shape).movedim(-1, 1)

    def tokens_of_maps(self, maps: Tensor, codebook: Tensor | None = None, distance: str | None = None) -> Tensor:
        """Return the tokens of what a data preprocessor makes: codes (B, h, w), or those nearest to maps (B, D, h, w).

        `codebook` and `distance` are those of the preprocessor; maps without a codebook are coefficients, rounded.
        """
        if not maps.is_floating_point():
            return maps
        if self.tokenizer is not None:
            return nearest_tokens(self.tokenizer, maps, codebook, distance)
        values = maps.movedim(1, -1)
        return values.round().long() if codebook is None else NEAREST_CODES[distance or "cosine"](values, codebook)

    def patches(self, codes: Tensor) -> Tensor | None:
        """Return what each code (n,) decodes to where the whole grid is of it, (n, C, stride, stride); None without."""
        if not self.decodes:
            return None
        rows, columns = self.tokenizer.grid
        images = self.images(codes[:, None, None].expand(-1, rows, columns))
        side = self.tokenizer.stride
        top, left = rows // 2 * side, columns // 2 * side
        return images[..., top : top + side, left : left + side]


def code_colours(codebook_size: int, codebook: np.ndarray | None = None) -> np.ndarray:
    """Return a colour per code, (K, 3), uint8: the main axes of the codebook's vectors (K, D), or hues that differ."""
    if codebook is None or min(codebook.shape) < 3:
        return np.array(distinct_colours(codebook_size), np.uint8)
    centred = codebook.astype(np.float64) - codebook.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)  # of ascending share
    ranks = (centred @ axes[:, :-4:-1]).argsort(axis=0).argsort(axis=0)  # evenly spread, whatever their distribution
    return (255 * ranks / max(len(codebook) - 1, 1)).astype(np.uint8)


def _over_range(values: Tensor) -> Tensor:
    """Scale the columns of values (n, C) to [0, 255], uint8, each over the range of most of them."""
    ranked, last = values.sort(dim=0).values, len(values) - 1
    low, high = ranked[round(_SHOWN_SHARE * last)], ranked[round((1 - _SHOWN_SHARE) * last)]
    return ((values - low) / (high - low).clamp(min=1e-6) * 255).round().clamp(0, 255).to(torch.uint8)


def fitted(images: Tensor, pixels: int) -> Tensor:
    """Bring images (B, C, H, W), uint8, to about `pixels` on their longer side: large ones shrunk, small ones enlarged.

    Small ones are enlarged by a whole number, each pixel a square.
    """
    longer = max(images.shape[-2:])
    if longer > pixels:
        size = [max(1, round(side * pixels / longer)) for side in images.shape[-2:]]
        shrunk = F.interpolate(images.float(), size, mode="bilinear", align_corners=False, antialias=True)
        return shrunk.round().clamp(0, 255).to(torch.uint8)
    zoom = max(1, pixels // longer)
    return images.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)


def side_by_side(images: Tensor) -> Tensor:
    """Put images (B, C, H, W), uint8, C of 1 or 3, beside each other with white lines between: (3, H, w)."""
    padded = F.pad(images.expand(-1, 3, -1, -1), (0, _GAP), value=255)
    return padded.permute(1, 2, 0, 3).flatten(2)[..., :-_GAP]


def squared(image: Tensor, side: int) -> Tensor:
    """Put an image (C, h, w), uint8, in the middle of a white square (3, side, side)."""
    high, wide = (side - length for length in image.shape[-2:])
    return F.pad(image.expand(3, -1, -1), (wide // 2, wide - wide // 2, high // 2, high - high // 2), value=255)
