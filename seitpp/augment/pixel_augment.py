"""Image augmentations of tokens the long way: decoded, augmented as pixels, encoded again (SeiT++, Table B)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seitpp.augment.base import Augmentation
from seitpp.registry import TRANSFORMS
from seitpp.structures.transform_tree import walk
from seitpp.tokenizers.encoding import nearest_tokens, reencoded
from seitpp.tokenizers.frozen import FrozenTokenizer
from seitpp.tokenizers.identity import check_same_tokenizer, codebook_identity, settings_identity
from seitpp.tokenizers.precision import network_precision

_ADVICE = "Use the tokenizer that made the tokens"
_ON_TOKENS = ("PixelAugment", "TokenAdaptAugment", "TokenEDA", "ToCodes")


@TRANSFORMS.register_module()
class PixelAugment(Augmentation):
    """Decode tokens to images, run augmentations on these, and encode them again with the same frozen tokenizer.

    The tokenizer is built at its first use and has no part in training or in checkpoints. Every augmentation in
    `augments` sees the batch with images (B, C, H, W) as its `inputs`, in [0, 1] whatever the tokenizer's range is:
    labels, soft targets and label maps follow as they do outside. Sizes, such as a crop's, are in pixels.

    Everything runs in float32 whatever autocast says, unless the tokenizer's own `precision` is bfloat16: codes are the
    nearest of many, and eight bits choose others than those of the stored tokens, which were encoded in float32
    (`changed_share` tells how many), on top of what decoding and encoding lose.

    Required and modified key: `inputs`, codes (B, H, W), or with `codebook` (K, D) embeddings (B, D, H, W), of which
    the nearest codes are decoded; becomes codes int64 (B, h, w). For a tokenizer without a codebook values
    (B, channels, H, W), rounded to whole ones; becomes values (B, channels, h, w). Optional key: `distance`, the
    tokenizer's if absent.

    Args:
        tokenizer: What made the tokens, with its decoder: its config, a token store whose header describes it, or the
            tokenizer itself.
        augments: Configs of transforms on the images, run in order.
    """

    def __init__(self, tokenizer: dict | str | Path | nn.Module, augments: Sequence[dict] = ()) -> None:
        self._tokenizer = FrozenTokenizer(tokenizer, _check_kind)
        self._is_checked = False  # against the data
        self.augments = self.children = [TRANSFORMS.build(cfg) for cfg in augments]
        for part in walk(self.children):
            if type(part).__name__ in _ON_TOKENS:
                raise ValueError(
                    f"PixelAugment's augments act on images, and {type(part).__name__} acts on tokens; put it before "
                    "or after PixelAugment"
                )

    def prepare(
        self,
        metadata: Mapping[str, Any],
        where: str,
        codebook: Tensor | None = None,
        codebook_sha256: str | None = None,
    ) -> None:
        """Build the tokenizer and refuse data that it cannot take, before training starts.

        `metadata` is the data set's `metainfo` (`grid`, `channels`, `tokenizer`, `spatial`), `where` its name.
        """
        grid = metadata.get("grid")
        if metadata.get("spatial") is False or (grid is not None and len(grid) != 2):
            raise ValueError(
                f"{where} holds tokens without a spatial grid: none of them stands for a part of the image, so that a "
                "crop has no tokens of its own. Leave PixelAugment out, or use another tokenizer"
            )
        try:
            tokenizer = self._tokenizer.on("cpu" if codebook is None else codebook.device)
            known = codebook is not None or "channels" in metadata
            identity = codebook_identity(codebook, metadata.get("channels")) if known else {}
            _check_tokens(tokenizer, {**identity, **(metadata.get("tokenizer") or {})}, "the data")
            if grid is not None:
                self._check_sizes(tokenizer, (grid[0] * tokenizer.stride, grid[1] * tokenizer.stride))
        except ValueError as error:
            raise ValueError(f"PixelAugment cannot augment {where}: {error}") from error
        self._is_checked = True

    def networks(self) -> list[nn.Module]:
        return [] if self._tokenizer.built is None else [self._tokenizer.built]

    def _check_sizes(self, tokenizer: Any, size: tuple[int, int]) -> None:
        _check_size(tokenizer, size, "its tokens give")
        for transform in self.children:
            if hasattr(transform, "out_grid"):
                size = tuple(transform.out_grid(size))
            elif any(tuple(part.out_grid(size)) != size for part in walk([transform]) if hasattr(part, "out_grid")):
                return  # what a composite leaves is known when it has chosen
        _check_size(tokenizer, size, "its augments leave")

    @torch.no_grad()
    def transform(self, results: dict) -> dict:
        inputs, codebook = results["inputs"], results.get("codebook")
        tokenizer = self._tokenizer.on(inputs.device)
        if not self._is_checked:  # once: hashing waits for the device
            has_values = tokenizer.codebook is None and codebook is None and inputs.is_floating_point()
            _check_tokens(tokenizer, codebook_identity(codebook, inputs.shape[1] if has_values else None), "the batch")
            self._is_checked = True

        def augment(images: Tensor) -> Tensor:
            nonlocal results
            results["inputs"] = images
            for child in self.children:
                results = child(results)
            return results["inputs"]

        with network_precision(inputs.device.type, "float32"):
            tokens = nearest_tokens(tokenizer, inputs, codebook, results.get("distance"))
            tokens = reencoded(tokenizer, tokens, augment)
        results["inputs"] = tokens if tokenizer.codebook is not None else tokens.movedim(-1, 1).float()
        return results


def _check_kind(tokenizer: Any) -> None:
    name = type(tokenizer).__name__
    if not (hasattr(tokenizer, "encode") and hasattr(tokenizer, "decode")):
        raise ValueError(f"{name} is no tokenizer; expected one that encodes and decodes, such as seitpp.ViTVQGAN")
    if not tokenizer.spatial:
        raise ValueError(f"{name} has no spatial grid: none of its tokens stands for a part of the image")
    if not tokenizer.can_decode:
        raise ValueError(f"{name} has no decoder; give it a checkpoint with its decoder's weights")


def _check_tokens(tokenizer: Any, known: Mapping[str, Any], what: str) -> None:
    """Raise `ValueError` unless the tokenizer may be what made tokens of a known identity.

    A codebook tells codes apart, and weights may differ in nothing but the decoder; without one options tell. Nothing
    is resized here.
    """
    own = {"channels": tokenizer.channels}
    if "codebook_sha256" in known:  # else there is nothing to compare a hash with, and hashing waits for the device
        own = codebook_identity(tokenizer.codebook, tokenizer.channels)
    if tokenizer.codebook is None:
        own |= settings_identity(tokenizer.describe()) or {}
    own, known = ({key: value for key, value in one.items() if not key.startswith("resize")} for one in (own, known))
    check_same_tokenizer(own, f"its {type(tokenizer).__name__}", known, what, _ADVICE)


def _check_size(tokenizer: Any, size: tuple[int, int], what: str) -> None:
    try:
        tokenizer.check_images(torch.empty(1, tokenizer.in_channels, *size, device="meta"))
    except ValueError as error:
        raise ValueError(
            f"{what} images of {size[0]} x {size[1]} pixels, which {type(tokenizer).__name__} cannot encode ({error})"
        ) from error
