"""Augmentations that act on codes or their codebook embeddings (SeiT, Park et al., 2023)."""

from mmcv.transforms import BaseTransform

from seitpp.augment.geometry import crop_resize, crop_resize_codes, sample_crop_boxes
from seitpp.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TokenRRC(BaseTransform):
    """Token-RRC: random resized crop of the embeddings, bicubic, one box a sample (SeiT, Sec. 3.3).

    Cropping the embeddings equals cropping one-hot maps over the codebook and multiplying by it afterwards, at a small
    fraction of the work: both are the same linear map.

    Required and modified key: `inputs`, codes (B, H, W) with `codebook` (K, D) beside them, or embeddings
    (B, D, H, W); becomes embeddings (B, D, *size).

    Args:
        size: Height and width of the result, in tokens.
        scale: Range of the crop's share of the grid's area.
        ratio: Range of the crop's width / height.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale must satisfy 0 < low <= high <= 1, got {tuple(scale)}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio must satisfy 0 < low <= high, got {tuple(ratio)}")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)

    def transform(self, results: dict) -> dict:
        """Crop and resize the batch; see the class for the keys."""
        inputs = results["inputs"]
        boxes = sample_crop_boxes(len(inputs), tuple(inputs.shape[-2:]), self.scale, self.ratio, device=inputs.device)
        if inputs.is_floating_point():
            results["inputs"] = crop_resize(inputs, boxes, self.size)
        else:
            crops = crop_resize_codes(inputs, results["codebook"], boxes, self.size)
            results["inputs"] = crops.permute(0, 3, 1, 2)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, scale={self.scale}, ratio={self.ratio})"
