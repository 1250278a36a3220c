"""What TokenAdapt trains from, on the device: images, or pairs of tokens that were made from images before."""

from collections.abc import Mapping
from typing import Any

from mmpretrain.models import SelfSupDataPreprocessor

from seitpp.registry import MODELS


@MODELS.register_module()
class TokenPairDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor of images, which lets batches of stored pairs pass: they go to the device as they are.

    So one config validates on images whatever it trains on.

    Args:
        non_blocking: Passed to the copy to the device.
        **kwargs: mmpretrain's other options.
    """

    def __init__(self, non_blocking: bool = True, **kwargs: Any) -> None:
        super().__init__(non_blocking=non_blocking, **kwargs)

    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Prepare images, or move the `inputs`, `targets` and `draws` of `seitpp.TokenPairDataset`."""
        return self.cast_data(dict(data)) if "targets" in data else super().forward(data, training)
