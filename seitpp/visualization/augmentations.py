"""Pictures of augmented tokens, decoded: the comparisons of SeiT++'s Fig. 3, C and D, and a page of them.

One draw acts on decoded pixels, on codebook embeddings and on TokenAdapt's map; what comes out becomes codes, which the
store's tokenizer decodes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seitpp.augment import (
    BatchCenterCrop,
    BatchMixup,
    BatchRandomAffine,
    BatchRandomFlip,
    BatchRandomResizedCrop,
    TokenAdaptAugment,
)
from seitpp.augment.base import BatchTransform, embed_codes
from seitpp.augment.colors import EmbNoise, color_adapt
from seitpp.augment.mixing import MixWeights
from seitpp.io.config_file import read_config
from seitpp.models import TokenAdapt
from seitpp.storage import StoreReader
from seitpp.tokenizers import Tokenizer
from seitpp.tokenizers.encoding import nearest_tokens, reencoded
from seitpp.visualization.page import HtmlPage
from seitpp.visualization.pictures import PicturePanel, PictureRow, labelled_grid

PANELS = ("Horizontal flip", "Affine", "Random resized crop", "Mixup, 1:1 with the next column", "Colours")

_BRIGHTNESS = 0.2  # what is added to every value (SeiT++, Fig. 5)
_CONTRAST = 1.5  # the paper gives no factor

_ORIGINAL = "The store's tokens, decoded."
_PIXELS = (
    "Decoded to pixels, augmented there and encoded again: what TokenAdapt learns to predict from the tokens alone."
)
_DIRECT = "The same draw applied to the tokens' embeddings, then the nearest codes."
_ADAPTED = "The same draw applied to TokenAdapt's map of the tokens, which was then reversed to codes."


class AugmentationPictures:
    """Decodes a few samples of a store, augmented in several ways.

    Where TokenAdapt makes a smaller grid, each picture shows the middle of that size; what a crop makes has it already.

    Args:
        tokenizer: What made the tokens; decodes them.
        tokens: (B, H, W), or (B, H, W, channels) for a tokenizer without a codebook. Mixup and ColorAdapt take the next
            sample as partner, the last one the first, so that B is at least 2.
        token_adapt: The network; None leaves its rows out.
        seed: Of the draws.

    Raises:
        ValueError: The tokens have no spatial grid, the tokenizer cannot decode, or there are fewer than 2 samples.
    """

    def __init__(
        self, tokenizer: Tokenizer, tokens: Tensor, token_adapt: TokenAdapt | None = None, seed: int = 0
    ) -> None:
        name = type(tokenizer).__name__
        if not tokenizer.spatial:
            raise ValueError(
                f"the tokens of {name} have no spatial grid: none of them stands for a part of the image, so "
                "there is nothing to flip, turn or crop. Use a store of another tokenizer"
            )
        if not tokenizer.can_decode:
            raise ValueError(f"{name} has no decoder, so its tokens cannot be shown; load all of its weights")
        if len(tokens) < 2:
            raise ValueError(
                f"number of samples to show is {len(tokens)}, expected at least 2: Mixup and ColorAdapt take pairs"
            )
        self.tokenizer, self.tokens, self.token_adapt, self.seed = tokenizer, tokens.long(), token_adapt, seed
        rows, columns = tokens.shape[1:3]
        # Those of TokenAdapt's map, also where there is none: so draws are the same with and without it.
        self.map_grid = (rows * TokenAdapt.map_stride, columns * TokenAdapt.map_stride)
        self.out_grid = self.map_grid if token_adapt is None else token_adapt.out_map_grid
        self.partner = torch.arange(len(tokens)).roll(-1)
        if tokenizer.codebook is None:
            self._embeddings = self.tokens.movedim(-1, 1).float()
        else:
            self._embeddings = embed_codes(self.tokens, tokenizer.codebook.detach())

    @torch.no_grad()
    def panels(self, titles: Sequence[str] = PANELS) -> list[PicturePanel]:
        """Make one panel for each geometric augmentation and for Mixup, and one of colours, or those of `titles`."""
        original = PictureRow("original", _ORIGINAL, self._shown(self.tokens))
        operations = self._operations()
        rows = {
            title: self._compared(*operations[title]) if title in operations else self._colours() for title in titles
        }
        return [PicturePanel(title, [original, *rows[title]]) for title in titles]

    @torch.no_grad()
    def adapted_tokens(self, title: str) -> Tensor:
        """Return the tokens that TokenAdapt makes in the panel of that title, one of geometry or of Mixup."""
        return self._adapted(*self._operations()[title])

    def _operations(self) -> dict[str, tuple[BatchTransform, Any]]:
        """Return augmentations of the recipes with their draws, active on every sample and strong enough to be seen."""
        transforms = [
            BatchRandomFlip(prob=1.0),
            BatchRandomAffine(degrees=30, translate=0.2, shear=15),
            BatchRandomResizedCrop(self.out_grid, scale=(0.2, 0.6)),
        ]
        generator = torch.Generator().manual_seed(self.seed)
        drawn = [
            (transform, transform.sample(len(self.tokens), self.map_grid, generator=generator))
            for transform in transforms
        ]
        drawn.append((BatchMixup(), MixWeights(torch.full(self.partner.shape, 0.5), self.partner)))
        return dict(zip(PANELS, drawn, strict=False))  # without colours

    def _compared(self, transform: BatchTransform, drawn: Any) -> list[PictureRow]:
        """Apply one augmentation to pixels, to embeddings, and through TokenAdapt."""
        cut = self._cut(transform)
        encoded = reencoded(self.tokenizer, self.tokens, lambda pixels: cut(transform.apply(pixels, drawn)))
        direct = nearest_tokens(self.tokenizer, transform.apply(self._embeddings, drawn))
        rows = [
            PictureRow("pixels augmented, re-encoded", _PIXELS, self._shown(encoded)),
            PictureRow("tokens without TokenAdapt", _DIRECT, self._shown(direct)),
        ]
        if self.token_adapt is not None:
            rows.append(PictureRow("tokens with TokenAdapt", _ADAPTED, self._shown(self._adapted(transform, drawn))))
        return rows

    def _adapted(self, transform: BatchTransform, drawn: Any) -> Tensor:
        """Return the tokens of the same draw through TokenAdapt."""
        network = self.token_adapt
        maps = self._cut(transform)(transform.apply(network.convert(self._embeddings), drawn))
        if network.regresses:
            return nearest_tokens(self.tokenizer, network.reverse(maps).movedim(-1, 1))
        return network.reverse_codes(maps)

    def _cut(self, transform: BatchTransform) -> Callable[[Tensor], Tensor]:
        """Return what brings augmented maps to the size that is shown; what a crop makes has it already."""
        keeps_grid = transform.out_grid(self.map_grid) == self.map_grid
        return self._middle if keeps_grid else lambda maps: maps

    def _colours(self) -> list[PictureRow]:
        embeddings = self._embeddings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            noisy = EmbNoise(prob=1.0)({"inputs": embeddings})["inputs"]
        # Brightness adds, as Kornia's, which the paper used. Kornia's contrast only multiplies, which changes no code
        # where the nearest one is that of the largest cosine; hence torchvision's, about the mean.
        contrast = embeddings.mean(dim=(2, 3), keepdim=True).lerp(embeddings, _CONTRAST)
        rows = [
            ("Emb-Noise", "Normal noise of deviation 1 on each channel and on each value of the embeddings", noisy),
            ("brightness", f"{_BRIGHTNESS} added to each value of the embeddings", embeddings + _BRIGHTNESS),
            ("contrast", f"Embeddings moved to {_CONTRAST} times their distance from the channel's mean", contrast),
            (
                "ColorAdapt",
                "Each channel of the embeddings given the mean and deviation it has in the next column",
                color_adapt(embeddings, self.partner),
            ),
        ]
        return [
            PictureRow(label, f"{what}, then the nearest codes.", self._shown(nearest_tokens(self.tokenizer, maps)))
            for label, what, maps in rows
        ]

    def _shown(self, tokens: Tensor) -> Tensor:
        """Decode tokens to 8-bit images of the size that is shown; of a whole grid the middle.

        It is cut out of the pixels: where it begins inside a token, embeddings would have to be resampled.
        """
        images = self.tokenizer.to_bytes(self.tokenizer.decode(tokens))
        is_whole = tokens.shape[1:3] == self.tokens.shape[1:3]
        return self._middle(images) if is_whole else images

    def _middle(self, maps: Tensor) -> Tensor:
        """Cut maps (B, C, H, W) of any resolution to what `out_grid` keeps."""
        crop = BatchCenterCrop(self.out_grid)
        return crop.apply(maps, crop.sample(len(maps), self.map_grid))


def load_token_adapt(
    config: str | Path, checkpoint: str | Path, reader: StoreReader, tokenizer: Tokenizer
) -> TokenAdapt:
    """Load a TokenAdapt by the config that trained it; `ValueError` if it does not take a store's tokens."""
    model = read_config(config).get("model", {})
    if "token_adapt" not in model:
        raise ValueError(f"{config} has no model.token_adapt; expected a file of configs/tokenadapt/")
    augment = TokenAdaptAugment(model.token_adapt.to_dict(), checkpoint)
    metadata = {
        "grid": reader.grid,
        "channels": reader.channels,
        "codebook_size": reader.codebook_size,
        "spatial": tokenizer.spatial,
    }
    augment.prepare(metadata, str(reader.path), tokenizer.codebook, reader.codebook_sha256)
    return augment.load()


def augmentation_page(panels: Sequence[PicturePanel], title: str, notes: Sequence[str] = ()) -> HtmlPage:
    """Make a page of panels: each as a picture, with what its rows are."""
    page = HtmlPage(title)
    for note in notes:
        page.paragraph(note)
    for panel in panels:
        page.heading(panel.title)
        page.picture(labelled_grid([panel], titles=False), alt=f"Rows: {', '.join(row.label for row in panel.rows)}")
        page.definitions([(row.label, row.caption) for row in panel.rows])
    return page
