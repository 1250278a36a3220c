"""Tokens with label maps to the input of mmseg's segmentors, on the device: labels follow their tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor

from seitpp.models.data_preprocessor import TokenDataPreprocessor
from seitpp.registry import MODELS


@MODELS.register_module()
class TokenSegDataPreprocessor(TokenDataPreprocessor):
    """`TokenDataPreprocessor` for mmseg's `EncoderDecoder`: augments tokens and label maps alike.

    Label maps have a resolution of their own, such as 512 x 512 for 64 x 64 tokens.

    Args:
        test_cfg: An option of mmseg's preprocessor, for resizing pictures; must be None, since tokens are not resized.
    """

    def __init__(self, *args: Any, test_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if test_cfg is not None:
            raise ValueError(f"test_cfg is {test_cfg}, but tokens cannot be resized; leave it out")

    @torch.no_grad()
    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Prepare one batch.

        Args:
            data: `inputs`, codes (B, H, W) or (B, 1, H, W) or a list of (H, W) or (1, H, W), of any integer type, or
                embeddings (B, D, H, W); `images` in place of `inputs` are tokenised first. And `data_samples`, a list
                of `SegDataSample`, with `gt_sem_seg` (1, h, w) or without. In training, and with a centre crop, these
                have equal sizes; otherwise each may have the size of its own image.

        Returns:
            `inputs`, codes int64 (B, h, w) or embeddings float32 (B, D, h, w), and `data_samples`, copies of those
            given with the label maps that belong to the inputs; None if none were given.
        """
        samples = data.get("data_samples")
        inputs = self.tokens_of(self.cast_data(data["images"])) if "images" in data else data["inputs"]
        batch = {"inputs": _stacked_inputs(inputs)}
        moved = training or self.crop_size is not None
        if moved and samples is not None and (labels := _stacked_labels(samples)) is not None:
            batch["gt_sem_seg"] = labels
        batch = self.process(self.cast_data(batch), training)
        if samples is not None:
            own = [sample.gt_sem_seg.data[0] if "gt_sem_seg" in sample else None for sample in samples]
            maps = batch.get("gt_sem_seg", own)
            samples = [sample.new() for sample in samples]
            for sample, label_map in zip(samples, maps, strict=True):
                if label_map is not None:
                    _set_labels(sample, label_map.long())  # losses require int64, whatever type is stored
            samples = self.cast_data(samples)
        return {"inputs": batch["inputs"], "data_samples": samples}


def _stacked_inputs(inputs: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the inputs of a batch as one tensor, codes without a channel."""
    if not isinstance(inputs, Tensor):
        shapes = {tuple(one.shape) for one in inputs}
        if len(shapes) != 1:
            raise ValueError(f"a batch holds tokens of the shapes {sorted(shapes)}, expected one grid for all samples")
        inputs = torch.stack(list(inputs))
    if not inputs.is_floating_point() and inputs.dim() == 4 and inputs.shape[1] == 1:
        return inputs.squeeze(1)
    if inputs.dim() == (4 if inputs.is_floating_point() else 3):
        return inputs
    raise ValueError(
        f"inputs are {inputs.dtype} of shape {tuple(inputs.shape)}, expected integer codes (B, H, W) or (B, 1, H, W), "
        "or floating-point embeddings (B, D, H, W)"
    )


def _stacked_labels(samples: Sequence[BaseDataElement]) -> Tensor | None:
    """Return the label maps (B, h, w) of a batch, None if no sample has one."""
    maps = [sample.gt_sem_seg.data for sample in samples if "gt_sem_seg" in sample]
    if not maps:
        return None
    shapes = {tuple(one.shape) for one in maps}
    if len(maps) < len(samples) or len(shapes) != 1 or maps[0].dim() != 3 or maps[0].shape[0] != 1:
        raise ValueError(
            f"{len(maps)} of {len(samples)} samples have label maps, of the shapes {sorted(shapes)}; expected one "
            "(1, h, w) of equal size for each (the data set's label_size brings them to one)"
        )
    return torch.cat(maps)


def _set_labels(sample: BaseDataElement, label_map: Tensor) -> None:
    """Set a sample's label map (h, w) and the metadata that depends on it; the sample shares contents with another."""
    before, size = sample.gt_sem_seg, tuple(label_map.shape)
    sample.gt_sem_seg = PixelData(metainfo=before.metainfo, data=label_map[None])
    changed = tuple(before.shape) != size
    # mmseg resizes predictions to these and compares them with the label map.
    for key in ("img_shape", "ori_shape"):
        if changed or key not in sample:
            sample.set_metainfo({key: size})
    if changed and "pad_shape" in sample:
        sample.set_metainfo({"pad_shape": size})
