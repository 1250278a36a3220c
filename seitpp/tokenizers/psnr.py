"""Peak signal-to-noise ratio: how near the reconstructions of a tokenizer are to the images."""

from torch import Tensor


def psnr_of_error(error: Tensor) -> Tensor:
    """Return the PSNR, in dB, of mean squared errors of pixels scaled to [0, 1]; at most 100, also for no error."""
    return -10 * error.clamp(min=1e-10).log10()


def image_psnr(reconstructed: Tensor, images: Tensor, data_range: float) -> Tensor:
    """Return the PSNR of each image, (B,), in dB, at most 100; images (B, C, H, W) with values `data_range` apart."""
    return psnr_of_error((((reconstructed - images) / data_range) ** 2).mean(dim=(1, 2, 3)))
