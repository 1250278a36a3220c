"""How much of an image a tokenizer keeps, and how much of its codebook it uses."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from seitpp.evaluation.finite import check_scorable
from seitpp.registry import METRICS
from seitpp.tokenizers.psnr import psnr_of_error


class _Sample(NamedTuple):
    """What the scores of the data set need of one image."""

    psnr: float
    ssim: float
    mse: float
    codes: np.ndarray  # (h * w,)
    codebook_size: int


def image_ssim(reconstructed: Tensor, images: Tensor, data_range: float) -> Tensor:
    """Return the structural similarity of each image, (B,), at most 1 (Wang et al. 2004).

    Images (B, C, H, W) have sides of 11 pixels or more. As in torchmetrics, a Gaussian window of 11 pixels and
    deviation 1.5 lies around each pixel of each colour channel, and images are mirrored at their borders. Values must
    begin at 0: the measure is not the same after a shift.
    """
    if min(images.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs images of 11 x 11 pixels or more, got {tuple(images.shape[-2:])}")
    # In float64: a GPU shortens convolutions of float32 to 10 bits (TF32), and a small variance is gone by that.
    # Importing it takes a second, which every command would pay.
    from torchmetrics.functional.image import structural_similarity_index_measure

    similarity = structural_similarity_index_measure(
        reconstructed.double(), images.double(), data_range=float(data_range), reduction="none"
    )
    return similarity.reshape(len(images))


@METRICS.register_module()
class ReconstructionMetric(BaseMetric):
    """Scores of reconstructions, and the use of codes, over the whole data set.

    Exact for any batch size and number of processes, also where they do not divide the data. Reconstructions are
    clamped to the pixel range first, as when they are saved.

    Results: `psnr` in dB and `ssim`, means over images; `mse`, mean squared error of pixels scaled to [0, 1];
    `codebook_use`, percentage of all codes that occur; `code_perplexity`, the exponential of the entropy of their
    frequencies: K if all were equally frequent.
    """

    default_prefix = "reconstruction"

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Score a batch, with one entry per sample, so that mmengine can cut off padding."""
        low, high = data_samples[0]["pixel_range"]
        images, reconstructed = (
            (torch.stack([sample[key] for sample in data_samples]).float() - low) / (high - low)
            for key in ("image", "reconstruction")
        )
        reconstructed = reconstructed.clamp(0, 1)
        errors = (reconstructed - images).square().mean(dim=(1, 2, 3))
        scores = (psnr_of_error(errors), image_ssim(reconstructed, images, 1.0), errors)
        size = data_samples[0]["codebook_size"]
        # The smallest type, since the codes of the whole data set are gathered.
        codes = torch.stack([sample["codes"].flatten() for sample in data_samples]).cpu().numpy()
        codes = codes.astype(np.min_scalar_type(size - 1))
        self.results.extend(
            _Sample(psnr, ssim, mse, own, size)
            for psnr, ssim, mse, own in zip(*(values.tolist() for values in scores), codes, strict=True)
        )

    def compute_metrics(self, results: list[_Sample]) -> dict[str, float]:
        psnr, ssim, mse, codes, sizes = zip(*results, strict=True)
        check_scorable(self, mse, "reconstruction")
        counts = np.bincount(np.concatenate(codes), minlength=sizes[0])
        shares = counts[counts > 0] / counts.sum()
        return {
            "psnr": math.fsum(psnr) / len(psnr),
            "ssim": math.fsum(ssim) / len(ssim),
            "mse": math.fsum(mse) / len(mse),
            "codebook_use": 100 * len(shares) / sizes[0],
            "code_perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
        }
