"""A tokenizer that a model or an augmentation uses and does not own."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seitpp.registry import TOKENIZERS
from seitpp.tokenizers.codebook import codebook_sha256


class FrozenTokenizer:
    """A tokenizer built at its first use, which is nowhere in its owner's parameters, state or moving average.

    Args:
        source: Its config, a token store whose header describes it, or the tokenizer itself.

    Raises:
        ValueError: `source` is none of these.
    """

    def __init__(self, source: dict | str | Path | nn.Module) -> None:
        if not (isinstance(source, (str, Path, nn.Module)) or (isinstance(source, Mapping) and "type" in source)):
            raise ValueError(
                f"tokenizer is {source!r}, expected its config (a dict with a type), the folder of a token store that "
                "it made, or the tokenizer itself"
            )
        self._source = source
        self._tokenizer = source.requires_grad_(False).eval() if isinstance(source, nn.Module) else None

    def on(self, device: torch.device | str) -> Any:
        """The tokenizer, in evaluation mode, on a device."""
        if self._tokenizer is None:
            # On the CPU, also where its owner is built without values. Initial weights are drawn and overwritten; the
            # training's draws must not depend on when that is.
            with torch.device("cpu"), torch.random.fork_rng(devices=[]):
                self._tokenizer = self._build().requires_grad_(False).eval()
        value = next(chain(self._tokenizer.parameters(), self._tokenizer.buffers()), None)
        if value is not None and value.device != torch.device(device):
            self._tokenizer.to(device)
        return self._tokenizer

    def _build(self) -> Any:
        if not isinstance(self._source, (str, Path)):
            return TOKENIZERS.build(self._source)
        from seitpp.storage import StoreReader
        from seitpp.tokenizers import tokenizer_from_store

        return tokenizer_from_store(StoreReader(self._source))

    def __deepcopy__(self, memo: dict) -> "FrozenTokenizer":
        return self


def check_same_tokens(
    tokenizer: Any, channels: int | None, codebook: Tensor | None, owner: str, source: str | None = None
) -> None:
    """Refuse a tokenizer whose tokens mean other things than those of what uses it.

    Args:
        tokenizer: The tokenizer.
        channels: Integers per position that its owner takes; None for codes.
        codebook: What the owner's codes index, (K, D); None where that is not known, or for `channels`.
        owner: What uses it, for messages.
        source: Where the codebook came from, for messages.

    Raises:
        ValueError: It has another codebook, or another number of integers per position.
    """
    if tokenizer.channels != channels:
        raise ValueError(
            f"the tokenizer gives {tokenizer.channels or 'one code'} a place, {owner} expects {channels or 'codes'}; "
            "use the tokenizer that made the tokens"
        )
    if tokenizer.codebook is None or codebook is None:
        return
    theirs, ours = codebook_sha256(tokenizer.codebook), codebook_sha256(codebook)
    if theirs != ours:
        raise ValueError(
            f"the tokenizer has another codebook ({_identity(tokenizer.codebook, theirs)}) than "
            f"{owner if source is None else f'{owner}, {source}'} ({_identity(codebook, ours)}); its codes mean other "
            "things. Use the tokenizer that made the tokens"
        )


def _identity(codebook: Tensor, sha256: str) -> str:
    return f"{' x '.join(map(str, codebook.shape))}, sha256 {sha256[:12]}"
