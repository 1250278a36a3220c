"""A tokenizer that a model uses and does not own."""

from typing import Any

import torch
from torch import nn

from seitpp.registry import TOKENIZERS


class FrozenTokenizer:
    """A tokenizer built at its first use, which is nowhere in its owner's parameters, state or moving average."""

    def __init__(self, config: dict | nn.Module) -> None:
        self._config = config
        self._tokenizer = config if isinstance(config, nn.Module) else None

    def on(self, device: torch.device | str) -> Any:
        """The tokenizer, in evaluation mode, on a device."""
        if self._tokenizer is None:
            # On the CPU, also where its owner is built without values. Initial weights are drawn and overwritten; the
            # training's draws must not depend on when that is.
            with torch.device("cpu"), torch.random.fork_rng(devices=[]):
                self._tokenizer = TOKENIZERS.build(self._config)
        return self._tokenizer.requires_grad_(False).eval().to(device)

    def __deepcopy__(self, memo: dict) -> "FrozenTokenizer":
        return self
