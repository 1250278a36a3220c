"""The method on a few images, step by step: tokens, what they decode to, what TokenAdapt makes, what MTM fills in."""

import torch
from torch import Tensor

from seitpp.models import MTM, TokenAdapt
from seitpp.tokenizers import Tokenizer
from seitpp.visualization.augmentations import AugmentationPictures
from seitpp.visualization.filled_in import filled_in_rows
from seitpp.visualization.pictures import PictureRow
from seitpp.visualization.token_pictures import TokenPictures


@torch.no_grad()
def method_steps(
    tokenizer: Tokenizer,
    images: Tensor,
    bytes_per_image: tuple[float, float],
    token_adapt: TokenAdapt | None = None,
    mtm: MTM | None = None,
    seed: int = 0,
) -> list[PictureRow]:
    """Return a row of pictures per step, for `step_picture`; steps of a network that is None are left out.

    Args:
        tokenizer: Has a codebook and decodes.
        images: (B, C, H, W), uint8, at least two with `token_adapt`.
        bytes_per_image: Of an image as it is stored, and of its tokens.
        token_adapt: Moves, turns and shears the tokens.
        mtm: Pre-trained on such tokens; masks what `token_adapt` makes.
        seed: Of the augmentation.
    """
    codes = tokenizer.tokenize(tokenizer.from_bytes(images))
    colours = TokenPictures(None, tokenizer.codebook).images(codes)
    image_bytes, token_bytes = bytes_per_image
    rows, columns = tokenizer.grid
    steps = [
        PictureRow("image", f"{image_bytes:.0f} bytes", images),
        PictureRow("tokens", f"{rows} x {columns} codes,\n{token_bytes:.0f} bytes", colours),
        PictureRow("decoded", "what the tokens\nkeep", _decoded(tokenizer, codes)),
    ]
    if token_adapt is not None:
        codes = AugmentationPictures(tokenizer, codes, token_adapt, seed).adapted_tokens("Affine")
        steps.append(PictureRow("augmented", "tokens changed\nby TokenAdapt", _decoded(tokenizer, codes)))
    if mtm is not None:
        _, seen, filled = filled_in_rows(mtm, tokenizer, codes, torch.arange(len(codes)))
        steps.append(PictureRow("masked", "what MTM\nsees", seen.images))
        steps.append(PictureRow("filled in", "what MTM\npredicts", filled.images))
    return steps


def _decoded(tokenizer: Tokenizer, codes: Tensor) -> Tensor:
    return tokenizer.to_bytes(tokenizer.decode(codes))
