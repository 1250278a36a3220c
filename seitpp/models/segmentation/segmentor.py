"""mmseg's `EncoderDecoder` for token maps: predictions at the size of each sample's label map.

mmseg assumes one resolution for inputs and label maps, and one size within a batch. Here 64 x 64 tokens may have a
label map of 512 x 512 or of the image's own size, different for each sample.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import Tensor

from seitpp.registry import MODELS, TRANSFORMS
from seitpp.structures.transform_tree import walk

_MODES = ("whole", "slide")
_ADAPT, _MIRROR = "seitpp.TokenAdaptAugment", {"type": "seitpp.BatchRandomFlip", "prob": 1.0}


def window_starts(length: int, window: int, stride: int) -> list[int]:
    """Return the starts of windows that cover `length` tokens, the last window moved back to end with them."""
    if length <= window:
        return [0]
    return [*range(0, length - window, stride), length - window]


def pixels_in(start: int, stop: int, tokens: int, length: int) -> tuple[slice, Tensor]:
    """Find the pixels, of `length` along a side of `tokens` tokens, whose centres lie in tokens `start` to `stop`.

    Returns them and the position of each in this window, from -1 at its beginning to 1 at its end, float64.
    """
    centres = (torch.arange(length, dtype=torch.float64) + 0.5) * tokens / length
    inside = torch.nonzero((centres >= start) & (centres < stop)).flatten()
    if not len(inside):  # fewer pixels than tokens
        return slice(0, 0), centres[:0]
    chosen = slice(int(inside[0]), int(inside[-1]) + 1)
    return chosen, 2 * (centres[chosen] - start) / (stop - start) - 1


def enlarge_at(logits: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Interpolate a map (C, h, w) at rows (m,) and columns (n,) as `F.interpolate(mode="bilinear")`: (C, m, n).

    Positions run from -1 at the upper or left edge of the map to 1 at the lower or right one (corners not aligned).
    """
    across, down = columns.to(logits), rows.to(logits)
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)  # (m, n, 2), x before y
    return F.grid_sample(logits[None], grid[None], padding_mode="border", align_corners=False)[0]


@MODELS.register_module()
class TokenSegmentor(EncoderDecoder):
    """`EncoderDecoder` whose predictions have the size of the label maps, whatever the tokens' grid is.

    Logits come from the head at its own resolution and are enlarged once, for each sample to its own `ori_shape`
    (mmseg would resize them to the size of the batch's first sample before). In training it is `EncoderDecoder`.

    Args:
        test_cfg: `mode`: `whole` (default), or `slide` for grids that are larger than in training. `crop_size` and
            `stride` of sliding windows, in tokens, one number or two. `windows_at_once`: windows that go through the
            network together (default 4). `keep_logits`: whether predictions carry their logits, as mmseg's do (default
            True); 150 classes of 512 x 512 are 157 MB per sample. `flip`: whether to average with the prediction for
            the mirrored image. Mirrored tokens are not the tokens of the mirrored image, so TokenAdapt mirrors: that of
            the data preprocessor's augmentations (True), or options of a `seitpp.TokenAdaptAugment`.
    """

    def __init__(self, *args: object, test_cfg: dict | None = None, **kwargs: object) -> None:
        super().__init__(*args, test_cfg={"mode": "whole", **(test_cfg or {})}, **kwargs)
        if self.test_cfg["mode"] not in _MODES:
            raise ValueError(f"test_cfg.mode is {self.test_cfg['mode']!r}, expected one of {', '.join(_MODES)}")
        self._mirror: Any = None  # built when it is first used
        if self.test_cfg["mode"] == "whole":
            return
        if not {"crop_size", "stride"} <= set(self.test_cfg):
            raise ValueError("test_cfg.mode is 'slide'; set its crop_size and stride, in tokens")
        crop, stride = _pair(self.test_cfg["crop_size"]), _pair(self.test_cfg["stride"])
        if any(not 0 < step <= side for step, side in zip(stride, crop, strict=True)):
            raise ValueError(
                f"test_cfg.stride is {stride} and crop_size {crop}; a stride above the window's side leaves tokens out"
            )
        if self.test_cfg.get("windows_at_once", 1) < 1:
            raise ValueError(f"test_cfg.windows_at_once is {self.test_cfg['windows_at_once']}, expected at least 1")
        if self.align_corners:
            raise ValueError("sliding windows need a decode_head with align_corners=False")

    def predict(self, inputs: Tensor, data_samples: list[SegDataSample] | None = None) -> list[SegDataSample]:
        """Predict a class for each pixel at each sample's `ori_shape`, without samples at the head's resolution.

        Samples get `pred_sem_seg` (1, h, w), `logit_range` (smallest and largest logit), and, if they are kept,
        `seg_logits` (classes, h, w).
        """
        self._check_grid(inputs)
        samples = [None] * len(inputs) if data_samples is None else data_samples
        coarse = None if self.test_cfg["mode"] == "slide" else self.whole_inference(inputs)
        results = []
        for index, sample in enumerate(samples):  # one by one: at its full size a sample takes much memory
            size = None if sample is None else tuple(sample.ori_shape)
            one = slice(index, index + 1)
            logits = self.slide_inference(inputs[one], size) if coarse is None else coarse[one]
            (result,) = self.postprocess_result(logits, None if sample is None else [sample])
            # The best class does not show NaN; these two do.
            result.set_field(torch.stack(logits.aminmax()), "logit_range")
            if not self.test_cfg.get("keep_logits", True):
                del result.seg_logits
            results.append(result)
        return results

    def _check_grid(self, inputs: Tensor) -> None:
        """Raise `ValueError` for tokens that would be padded to whole patches: logits would miss their pixels."""
        patch, grid = self.backbone.patch_embed.projection.stride, inputs.shape[-2:]
        if grid[0] % patch[0] or grid[1] % patch[1]:
            raise ValueError(
                f"{grid[0]} x {grid[1]} tokens do not divide into patches of {patch[0]} x {patch[1]}; tokenise images "
                "of another size, or set the data preprocessor's crop_size to a multiple"
            )

    def whole_inference(self, inputs: Tensor, batch_img_metas: Sequence[dict] | None = None) -> Tensor:
        """Return logits (B, classes, h, w), float32, at the head's resolution; with `flip` the mean of both views."""
        logits = self._forward(inputs).float()  # the 8 bits of bfloat16 are too few to interpolate and average
        if not self.test_cfg.get("flip"):
            return logits
        return (logits + self._forward(self.mirrored(inputs)).float().flip(-1)) / 2

    def slide_inference(self, inputs: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Return logits (1, classes, *size) of one sample, the mean over windows; `size` is by default the head's."""
        grid = tuple(inputs.shape[-2:])
        total = count = None
        for windows, logits in self._windows(inputs):
            if total is None:
                scale = logits.shape[-2] / (windows[0][0].stop - windows[0][0].start)
                size = size or tuple(round(side * scale) for side in grid)
                total, count = logits.new_zeros(logits.shape[1], *size), logits.new_zeros(size)
            for (rows, columns), one in zip(windows, logits, strict=True):
                across_rows, down = pixels_in(rows.start, rows.stop, grid[0], size[0])
                across_columns, right = pixels_in(columns.start, columns.stop, grid[1], size[1])
                total[:, across_rows, across_columns] += enlarge_at(one, down, right)
                count[across_rows, across_columns] += 1
        return (total / count)[None]

    def _windows(self, inputs: Tensor) -> Iterator[tuple[list[tuple[slice, slice]], Tensor]]:
        """Yield some windows at a time, as rows and columns of tokens, with their logits (n, C, h, w)."""
        rows, columns = (
            [slice(start, start + min(side, length)) for start in window_starts(length, side, step)]
            for length, side, step in zip(
                inputs.shape[-2:], _pair(self.test_cfg["crop_size"]), _pair(self.test_cfg["stride"]), strict=True
            )
        )
        windows = [(row, column) for row in rows for column in columns]
        at_once = self.test_cfg.get("windows_at_once", 4)
        for start in range(0, len(windows), at_once):
            chosen = windows[start : start + at_once]
            yield chosen, self.whole_inference(torch.cat([inputs[..., row, column] for row, column in chosen]))

    def mirrored(self, inputs: Tensor) -> Tensor:
        """Return the tokens of the mirrored images, made by TokenAdapt, in the form of `inputs`."""
        if self._mirror is None:
            self._mirror = self._build_mirror(inputs)
        batch = self._mirror({"inputs": inputs, "codebook": self.data_preprocessor.codebook})
        return self.data_preprocessor.process({"inputs": batch["inputs"]}, training=False)["inputs"]

    def _build_mirror(self, inputs: Tensor) -> object:
        preprocessor, flip = self.data_preprocessor, self.test_cfg["flip"]
        if getattr(preprocessor, "codebook", None) is None:
            raise ValueError(
                f"test_cfg.flip needs tokens with a codebook; the data preprocessor, a {type(preprocessor).__name__}, "
                "has none. Leave flip out"
            )
        if isinstance(flip, dict):
            return TRANSFORMS.build({"type": _ADAPT, **flip, "augments": [_MIRROR]})
        found = [part for part in walk(preprocessor.augments) if type(part).__name__ == _ADAPT.split(".")[-1]]
        if not found:
            raise ValueError(
                "test_cfg.flip is set, but mirrored tokens are not the tokens of the mirrored image (each code stays "
                "as it was drawn), and the data preprocessor has no TokenAdapt that could mirror them. Leave flip out, "
                "or set it to options of a TokenAdaptAugment: flip=dict(token_adapt=dict(...), checkpoint=...)"
            )
        network = found[0].load_for(inputs, preprocessor.codebook)
        if network.grid != network.out_grid:
            raise ValueError(
                f"test_cfg.flip is set, but the data preprocessor's TokenAdapt crops {network.grid} tokens to "
                f"{network.out_grid}; set flip to options with the same grid and out_grid"
            )
        return TRANSFORMS.build({"type": _ADAPT, "token_adapt": network, "augments": [_MIRROR]})


def _pair(side: int | Sequence[int]) -> tuple[int, int]:
    return (side, side) if isinstance(side, int) else tuple(side)
