"""A tokenizer that a model or an augmentation uses and does not own."""

from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.tokenizers.encoding import encode_pixels
from seitpp.tokenizers.from_store import tokenizer_from_store

# Images tokenised at a time, as in tools/tokenize_images.py: on a GPU another number may change a code at a tie.
_ENCODED_IMAGES = 64


class FrozenTokenizer:
    """A tokenizer that is built at its first use and absent from its owner's parameters, state and moving average.

    Args:
        source: Its config, a token store whose header describes it, or the tokenizer itself.
        check: Called once with the built tokenizer; raises `ValueError` if it does not suit the owner.
    """

    def __init__(
        self, source: Mapping | str | Path | nn.Module, check: Callable[[Any], None] = lambda tokenizer: None
    ) -> None:
        if not (isinstance(source, (str, Path, nn.Module)) or (isinstance(source, Mapping) and "type" in source)):
            raise ValueError(
                f"tokenizer is {source!r}, expected its config (a dict with a type), the folder of a token store that "
                "it made, or the tokenizer itself"
            )
        self._source = source
        self._check = check
        self._is_checked = False
        self._tokenizer = source.requires_grad_(False).eval() if isinstance(source, nn.Module) else None

    def on(self, device: torch.device | str) -> Any:
        """Return the tokenizer, in evaluation mode, on a device."""
        if self._tokenizer is None:
            # On the CPU, also where its owner is built on the meta device. Initial weights are drawn and overwritten;
            # the draws of training must not depend on when that is.
            with torch.device("cpu"), torch.random.fork_rng(devices=[]):
                self._tokenizer = self._build().requires_grad_(False).eval()
        if not self._is_checked:  # once: hashing a codebook waits for the device
            self._check(self._tokenizer)
            self._is_checked = True
        value = next(chain(self._tokenizer.parameters(), self._tokenizer.buffers()), None)
        if value is not None and value.device != torch.device(device):
            self._tokenizer.to(device)
        return self._tokenizer

    @property
    def built(self) -> Any | None:
        """The tokenizer where it is, or None as long as nobody needed it."""
        return self._tokenizer

    def tokens_of(self, images: Tensor) -> Tensor:
        """Return tokens of pixels (B, C, H, W), uint8, exactly as tools/tokenize_images.py stores them."""
        tokens = encode_pixels(self.on(images.device), images, str(images.device), _ENCODED_IMAGES)
        return tokens.clone()  # usable in autograd

    def _build(self) -> Any:
        if isinstance(self._source, (str, Path)):
            return tokenizer_from_store(StoreReader(self._source))
        return TOKENIZERS.build(self._source)

    def __deepcopy__(self, memo: dict) -> "FrozenTokenizer":
        return self
