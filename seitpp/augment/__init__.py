"""Augmentations of whole token batches, registered in TRANSFORMS; they run inside the data preprocessor."""

from seitpp.augment.token_ops import TokenRRC

__all__ = ["TokenRRC"]
