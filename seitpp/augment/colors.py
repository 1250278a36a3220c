"""Augmentations of codebook embeddings that change colours and textures, not positions: Emb-Noise and ColorAdapt."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seitpp.augment.base import Augmentation, BatchTransform, Device, Generator, Grid, as_embeddings, check_probability
from seitpp.augment.mixing import check_partner, draw_partners
from seitpp.registry import TRANSFORMS


def draw_samples(batch_size: int, prob: float, device: Device = "cpu", generator: Generator = None) -> Tensor:
    """Draw which samples of a batch to change, by index, (n,), int64: the first `prob` of a random order (reference).

    Their number is known to the host, so that a device is never waited for: B * prob where that is whole; else one of
    the two whole numbers beside it, drawn so that B * prob is the mean. (The reference always rounds down, and so
    would never change a batch of one.) An accelerator's generator draws the order alone, the host's default how many.
    """
    order = torch.randperm(batch_size, generator=generator, device=device)
    expected = batch_size * prob
    count = round(expected)
    if abs(expected - count) > 1e-9 * batch_size:  # 100 * 0.07 is not 7 in floating point
        on_host = generator if generator is not None and generator.device.type == "cpu" else None
        count = math.floor(expected + torch.rand((), generator=on_host).item())
    return order[:count]


def add_noise(
    maps: Tensor, samples: Tensor, channel_noise: Tensor, element_noise: Tensor, relative: bool = False
) -> Tensor:
    """Add noise to the samples (B, C, H, W) of some indices (n,), int64, each once; others stay equal.

    Noise is one value per channel, (n, C, 1, 1), plus one per element, (n, C, H, W); if `relative`, in units of each
    channel's standard deviation over the batch.
    """
    if relative and len(maps):
        scale = maps.std(dim=(0, 2, 3), correction=0, keepdim=True)  # (1, C, 1, 1)
        channel_noise, element_noise = channel_noise * scale, element_noise * scale
    return maps.index_add(0, samples, channel_noise + element_noise)


@TRANSFORMS.register_module()
class EmbNoise(Augmentation):
    """Emb-Noise: normal noise per channel plus normal noise per value, on some samples (SeiT, Sec. 3.3).

    Required and modified key: `inputs`, codes (B, H, W) with `codebook` (K, D) beside them, or floating-point maps
    (B, D, H, W); becomes maps.

    Args:
        std: Standard deviation of the noise of each value.
        channel_std: Standard deviation of the noise that a channel's values share.
        prob: Share of the samples; see `draw_samples`.
        relative: Whether both deviations are in units of each channel's own over the batch, as for DCT coefficients,
            whose channels have no scale in common.
    """

    compilable = ("_add_noise",)
    _add_noise = staticmethod(add_noise)

    def __init__(self, std: float = 1.0, channel_std: float = 1.0, prob: float = 0.5, relative: bool = False) -> None:
        for name, value in (("std", std), ("channel_std", channel_std)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number of at least 0, got {value}")
        self.std = std
        self.channel_std = channel_std
        self.prob = check_probability("prob", prob)
        self.relative = relative

    def transform(self, results: dict) -> dict:
        maps = as_embeddings(results["inputs"], results.get("codebook"), type(self).__name__)
        samples = draw_samples(len(maps), self.prob, maps.device)
        options = {"dtype": maps.dtype, "device": maps.device}
        channel_noise = self.channel_std * torch.randn(len(samples), maps.shape[1], 1, 1, **options)
        element_noise = self.std * torch.randn(len(samples), *maps.shape[1:], **options)
        results["inputs"] = self._add_noise(maps, samples, channel_noise, element_noise, self.relative)
        return results


def color_adapt(maps: Tensor, partner: Tensor, eps: float = 1e-6) -> Tensor:
    """Give each channel of a sample the mean and deviation of the same channel of its partner (SeiT++, eq. 4).

    Statistics are those of the batch as it is given, in float32 whatever its type: bfloat16 has 8 bits. A channel
    that is constant, or deviates by no more than rounding does, becomes its partner's mean; dividing by its deviation
    would blow rounding up to the partner's contrast.

    `partner` (B,), int64, are indices in the batch; a sample that is its own partner stays to the bit; `eps` is as for
    `ColorAdapt`.
    """
    if not len(maps):
        return maps  # torch warns of the deviation of nothing
    values = maps.float()
    variance, mean = torch.var_mean(values, dim=(2, 3), correction=0, keepdim=True)  # (B, C, 1, 1)
    std = variance.sqrt()
    varies = std > eps * (variance + mean.square()).sqrt()
    scale = torch.where(varies, std[partner] / std, 0)
    adapted = (values - mean) * scale + mean[partner]
    itself = partner == torch.arange(len(maps), device=maps.device)
    return torch.where(itself[:, None, None, None], maps, adapted.to(maps.dtype))


@dataclass(frozen=True)
class ColorPartners:
    """Whose colours each sample takes: `partner` (B,), int64, its own index for a sample that stays."""

    partner: Tensor


@TRANSFORMS.register_module()
class ColorAdapt(BatchTransform):
    """ColorAdapt: samples take the channel statistics of another sample (SeiT++, Sec. 3.3, eq. 4).

    Object structure stays and colours change. Labels do not change. In an odd batch the middle sample is its own
    partner under `partner="reverse"` and stays, as a sample alone does.

    Required and modified key: `inputs`, codes (B, H, W) with `codebook` (K, D) beside them, or floating-point maps
    (B, D, H, W) of any kind; becomes maps.

    Args:
        prob: Share of the samples that are changed; see `draw_samples`.
        partner: `reverse`, sample B - 1 - i (the loader shuffles), or `random`, a random order of the batch.
        eps: Deviation, as a share of a channel's root mean square, up to which it counts as constant.
    """

    compilable = ("apply",)

    def __init__(
        self, prob: float = 0.25, partner: Literal["reverse", "random"] = "reverse", eps: float = 1e-6
    ) -> None:
        if not 0 <= eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, got {eps}")
        self.prob = check_probability("prob", prob)
        self.partner = check_partner(partner)
        self.eps = eps

    def sample(self, batch_size: int, grid: Grid, device: Device = "cpu", generator: Generator = None) -> ColorPartners:
        own = torch.arange(batch_size, device=device)
        samples = draw_samples(batch_size, self.prob, device, generator)
        other = draw_partners(self.partner, batch_size, device, generator)
        return ColorPartners(own.index_copy(0, samples, other[samples]))

    def apply(self, maps: Tensor, params: ColorPartners) -> Tensor:
        return color_adapt(maps, params.partner, self.eps)
