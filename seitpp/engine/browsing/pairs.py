"""What TokenAdapt trains from: images and the same images augmented, and both as tokens."""

from collections.abc import Sequence

import torch
from mmengine.config import Config
from torch import Tensor

from seitpp.engine.browsing.base import Browser
from seitpp.models.token_adapt import TokenAdaptPretrain
from seitpp.registry import MODELS
from seitpp.visualization.dataset_page import BrowsedSample
from seitpp.visualization.token_pictures import TokenPictures


class PairBrowser(Browser):
    """What TokenAdapt trains from: images and the same images augmented, and both as tokens."""

    kind = "images"

    def __init__(self, config: Config, phase: str) -> None:
        super().__init__(config, phase)
        preprocessor = {"data_preprocessor": config.data_preprocessor} if "data_preprocessor" in config else {}
        self.model: TokenAdaptPretrain = MODELS.build({**preprocessor, **config.model}).eval()
        self.tokenizer = self.model.tokenizer()
        self.pictures = TokenPictures(
            self.tokenizer, self.tokenizer.codebook, self.tokenizer.codebook_size, self.tokenizer.channels
        )
        self.notes.append(self.pictures.note)
        self.notes.append("TokenAdapt learns to predict the tokens of the augmented image from those of the image.")

    @torch.no_grad()
    def samples(self, indices: Sequence[int], num_draws: int) -> list[BrowsedSample]:
        batch = self.batch(indices)
        if "targets" in batch:  # stored pairs, a group of which may hold many
            tokens, targets = (self.pictures.images(batch[name]) for name in ("inputs", "targets"))
            return [
                BrowsedSample(row, "", [("stored tokens", "", one), ("of the augmented image", "", other)])
                for row, (one, other) in enumerate(zip(tokens[: len(indices)], targets, strict=False))
            ]
        images = self.model.data_preprocessor(batch, False)["inputs"]
        found = [BrowsedSample(index) for index in indices]
        self._add("image", self._bytes(images), found)
        self._add("its tokens", self.pictures.images(self.tokenizer.encode(images)), found)
        model, number_of = self.model, torch.as_tensor(indices)
        if self.training:
            chains = {f"draw {number + 1}": model.augments for number in range(num_draws)}
        else:
            chains = model.eval_augments
        for label, chain in chains.items():
            draws = model.draw(len(images), "cpu") if self.training else model.eval_draws(chain, number_of, "cpu")
            augmented = model.augmented(images, chain, draws)
            self._add(label, self._bytes(augmented), found)
            self._add(f"{label}, tokens", self.pictures.images(self.tokenizer.encode(augmented)), found)
        return found

    def _bytes(self, images: Tensor) -> Tensor:
        return self.tokenizer.to_bytes(images)

    def _add(self, label: str, images: Tensor, found: list[BrowsedSample]) -> None:
        for sample, image in zip(found, images, strict=True):
            sample.pictures.append((label, "", image))
