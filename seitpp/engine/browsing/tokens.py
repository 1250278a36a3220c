"""Stored tokens, or images that are tokenised on the way, as classifiers, MTM and segmentors get them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from seitpp.engine.browsing.base import Browser
from seitpp.engine.model_kind import ModelKind, model_kind
from seitpp.models.mtm.masking import Masks, TruncatedNormalRatio, count_patches, draw_masks, hashed_uniform
from seitpp.registry import MODELS
from seitpp.storage import StoreReader
from seitpp.visualization.dataset_page import BrowsedSample
from seitpp.visualization.token_pictures import TokenPictures

_MASKED, _DROPPED = (150, 150, 150), (60, 60, 60)  # colours of patches that MTM masks, and that it drops


class TokenBrowser(Browser):
    """Stored tokens, or images that are tokenised, through `TokenDataPreprocessor`: classifiers, MTM, segmentors."""

    kind = "samples"

    def __init__(self, config: Config, phase: str, checkpoint: str | Path | None = None) -> None:
        super().__init__(config, phase)
        self.preprocessor = MODELS.build(config.data_preprocessor).eval()
        is_mtm = model_kind(config) is ModelKind.MTM
        self.mtm = config.model if is_mtm else None
        # Masks are drawn anew, too.
        self.augmented = self.training and (is_mtm or bool(self.preprocessor.augments.transforms))
        if self.training:
            where = getattr(self.dataset, "store_path", "the training data")
            self.preprocessor.prepare_training(self.dataset.metainfo, where)
        reader = reader_of(self.dataset)
        if isinstance(reader, StoreReader):
            self.pictures = TokenPictures.of_store(reader, checkpoint)
        else:
            codebook, channels = self.preprocessor.codebook, self.preprocessor.channels
            reason = "the data do not say which tokenizer made them."
            self.pictures = TokenPictures(self.preprocessor.tokenizer, codebook, 1, channels, reason)
        self.notes.append(self.pictures.note)
        if self.preprocessor.output == "embeddings" and self.preprocessor.codebook is not None:
            self.notes.append("The model gets embeddings; pictures show the codes nearest to them.")
        if self.training and not self.preprocessor.augments.transforms:
            self.notes.append("The config augments nothing in training.")
        if self.mtm is not None:
            self.notes.append(
                "Of what MTM hides, light patches are masked, and dark ones are not in the encoder at all."
            )

    def samples(self, indices: Sequence[int], num_draws: int) -> list[BrowsedSample]:
        batch = self.batch(indices)
        given = [None] * len(indices) if batch.get("data_samples") is None else batch["data_samples"]
        labels = batch.get("gt_label")
        names = ["" if labels is None else self.class_name(int(labels[row])) for row in range(len(indices))]
        first = batch["images"] if "images" in batch else self.pictures.images(batch["inputs"])
        found = []
        for index, name, image, sample in zip(indices, names, first, given, strict=True):
            found.append(BrowsedSample(index, name, [("data set", "", image), *self.with_labels(image, sample)]))
        if self.augmented:
            for draw in range(num_draws):
                self._add_draw(batch, found, f"draw {draw + 1}")
        else:
            self._add_draw(batch, found, "model's input")
        return found

    @torch.no_grad()
    def _add_draw(self, batch: dict, found: list[BrowsedSample], label: str) -> None:
        # A transform may act on the first half of a batch alone, which the loader has shuffled.
        order = torch.randperm(len(found)) if self.augmented else torch.arange(len(found))
        out = self.preprocessor(_taken(batch, order), training=self.training)
        tokens = self.pictures.tokens_of_maps(out["inputs"], self.preprocessor.codebook, self.preprocessor.distance)
        images, samples = self.pictures.images(tokens), out["data_samples"] or [None] * len(found)
        masks = None if self.mtm is None else self._masks(tokens, batch["sample_idx"][order])
        for row, place in enumerate(order.tolist()):
            shown = (label, self.targets(samples[row]), images[row])
            found[place].pictures += [shown, *self.with_labels(images[row], samples[row])]
            if masks is not None:
                hidden = f"{masks.mask[row].float().mean():.0%} of the patches"
                found[place].pictures.append(("hidden", hidden, _hide(images[row], masks, row, self._patches(tokens))))

    def _patches(self, tokens: Tensor) -> tuple[int, int]:
        side = self.mtm.backbone.get("patch_size", 1)
        return tokens.shape[1] // side, tokens.shape[2] // side

    def _masks(self, tokens: Tensor, sample_idx: Tensor) -> Masks:
        """Draw masks as MTM does, or take those of its validation."""
        rows, columns = self._patches(tokens)
        ratios = TruncatedNormalRatio(**self.mtm.get("mask_ratio", {}))
        dropped = count_patches(rows * columns, ratios.low)
        if self.training:
            noise, ratio = torch.rand(len(tokens), rows * columns), ratios.sample()
        else:
            noise, ratio = hashed_uniform(sample_idx, rows * columns), self.mtm.get("eval_mask_ratio", 0.6)
        return draw_masks(noise, max(count_patches(rows * columns, ratio), dropped), dropped)


def reader_of(dataset: Any) -> Any | None:
    """Return the reader of a data set of tokens, within wrappers the first; None where there is none."""
    while not hasattr(dataset, "reader"):
        parts = getattr(dataset, "datasets", None)
        dataset = parts[0] if parts else getattr(dataset, "dataset", None)
        if dataset is None:
            return None
    return dataset.reader


def _taken(batch: dict, order: Tensor) -> dict:
    """Return the samples of a batch in another order."""
    taken = {}
    for key, value in batch.items():
        if isinstance(value, Tensor):
            taken[key] = value[order]
        else:
            taken[key] = [value[row] for row in order.tolist()] if isinstance(value, list) else value
    return taken


def _hide(image: Tensor, masks: Masks, row: int, patches: tuple[int, int]) -> Tensor:
    """Paint the patches that are hidden over an image (C, H, W)."""
    kept = torch.zeros(patches[0] * patches[1], dtype=torch.bool)
    kept[masks.ids_keep[row]] = True
    state = masks.mask[row].long() + (masks.mask[row] & ~kept).long()  # 0 visible, 1 masked, 2 dropped
    rows, columns = (side // count for side, count in zip(image.shape[-2:], patches, strict=True))
    state = state.reshape(patches).repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    painted = image.expand(3, -1, -1).clone()
    for value, colour in ((1, _MASKED), (2, _DROPPED)):
        painted[:, state == value] = torch.tensor(colour, dtype=torch.uint8)[:, None]
    return painted
