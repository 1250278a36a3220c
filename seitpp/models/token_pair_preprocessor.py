"""What TokenAdapt trains from, on the device: images, or pairs of tokens that were made from images before."""

from collections.abc import Mapping

from mmpretrain.models import SelfSupDataPreprocessor

from seitpp.registry import MODELS


@MODELS.register_module()
class TokenPairDataPreprocessor(SelfSupDataPreprocessor):
    """mmpretrain's preprocessor of images, which lets batches of stored pairs pass: they go to the device as they are.

    So one config validates on images whatever it trains on.
    """

    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Prepare images, or move the `inputs`, `targets` and `draws` of `seitpp.TokenPairDataset`."""
        return self.cast_data(dict(data)) if "targets" in data else super().forward(data, training)
