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
    token_adapt: TokenAdapt,
    mtm: MTM,
    bytes_per_image: tuple[float, float],
    seed: int = 0,
) -> list[PictureRow]:
    """Return a step per row, with images (B, C, H, W), for `step_picture`.

    Args:
        tokenizer: Has a codebook and decodes.
        images: (B, C, H, W), uint8, at least two.
        token_adapt: Moves, turns and shears the tokens.
        mtm: Pre-trained on such tokens.
        bytes_per_image: Of an image as it is stored, and of its tokens.
        seed: Of the augmentation.
    """
    codes = tokenizer.tokenize(tokenizer.from_bytes(images))
    colours = TokenPictures(None, tokenizer.codebook).images(codes)
    decoded = tokenizer.to_bytes(tokenizer.decode(codes))
    adapted = AugmentationPictures(tokenizer, codes, token_adapt, seed).adapted_tokens("Affine")
    augmented, seen, filled = filled_in_rows(mtm, tokenizer, adapted, torch.arange(len(codes)))
    image_bytes, token_bytes = bytes_per_image
    rows, columns = tokenizer.grid
    return [
        PictureRow("image", f"{image_bytes:.0f} bytes", images),
        PictureRow("tokens", f"{rows} x {columns} codes,\n{token_bytes:.0f} bytes", colours),
        PictureRow("decoded", "what the tokens\nkeep", decoded),
        PictureRow("augmented", "tokens changed\nby TokenAdapt", augmented.images),
        PictureRow("masked", "what MTM\nsees", seen.images),
        PictureRow("filled in", "what MTM\npredicts", filled.images),
    ]
