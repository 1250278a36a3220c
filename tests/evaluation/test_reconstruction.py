"""`ReconstructionMetric` by hand: PSNR, SSIM, use of codes, and exactness over batches and padding."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from seitpp.evaluation import ReconstructionMetric
from seitpp.evaluation.reconstruction import image_ssim
from seitpp.tokenizers.psnr import image_psnr


def sample(image: Tensor, reconstruction: Tensor, codes: list[int], low: float = 0.0, size: int = 8) -> dict:
    return {
        "image": image,
        "reconstruction": reconstruction,
        "codes": torch.tensor(codes).view(1, -1),
        "pixel_range": (low, 1.0),
        "codebook_size": size,
    }


def constant(value: float) -> Tensor:
    return torch.full((3, 16, 16), value)


def test_psnr_by_hand() -> None:
    images = torch.zeros(2, 3, 16, 16)
    off = torch.stack((constant(0.1), constant(0.01)))
    assert image_psnr(off, images, 1.0).tolist() == pytest.approx([20, 40], abs=1e-4)
    assert image_psnr(off, images, 2.0).tolist() == pytest.approx([20 + 20 * math.log10(2), 40 + 6.0206], abs=1e-3)
    assert image_psnr(images, images, 1.0).tolist() == [100, 100]


def test_ssim_of_constant_images_by_hand() -> None:
    # Without variance only the luminance term is left: (2 a b + c1) / (a^2 + b^2 + c1), c1 = 0.01^2.
    first, second = constant(0.2).double()[None], constant(0.6).double()[None]
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4)
    assert image_ssim(second, first, 1.0).tolist() == pytest.approx([expected], rel=1e-6)


def test_ssim_equals_a_window_by_window_computation() -> None:
    torch.manual_seed(0)
    first, second = torch.rand(2, 1, 1, 13, 12, dtype=torch.float64)
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    mirrored = [np.pad(image[0, 0].numpy(), 5, mode="reflect") for image in (first, second)]
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for top in range(13):
        for left in range(12):
            a, b = (image[top : top + 11, left : left + 11] for image in mirrored)
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            var_a, var_b = (window * a * a).sum() - mean_a**2, (window * b * b).sum() - mean_b**2
            both = (window * a * b).sum() - mean_a * mean_b
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            values.append(luminance * (2 * both + c2) / (var_a + var_b + c2))
    assert image_ssim(second, first, 1.0).item() == pytest.approx(np.mean(values), rel=1e-6)


def test_ssim_needs_room_for_its_window() -> None:
    with pytest.raises(ValueError, match=r"11 x 11 pixels or more, got \(8, 8\)"):
        image_ssim(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), 1.0)


def test_totals_by_hand() -> None:
    metric = ReconstructionMetric()
    metric.process({}, [sample(constant(0), constant(0.1), [0, 0, 1, 1])])
    metric.process(
        {}, [sample(constant(0), constant(0.01), [0, 0, 1, 1]), sample(constant(1), constant(1), [5, 5, 1, 1])]
    )
    result = metric.evaluate(3)
    assert result["reconstruction/psnr"] == pytest.approx((20 + 40 + 100) / 3, abs=1e-3)
    assert result["reconstruction/mse"] == pytest.approx((0.01 + 0.0001) / 3, rel=1e-5)
    assert result["reconstruction/codebook_use"] == pytest.approx(100 * 3 / 8)
    shares = np.array([4, 6, 2]) / 12
    assert result["reconstruction/code_perplexity"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_reconstructions_are_clamped_and_ranges_scaled() -> None:
    metric = ReconstructionMetric(prefix="r")
    metric.process(
        {}, [sample(constant(1), constant(7.0), [0], low=-1.0), sample(constant(-1), constant(-0.8), [0], -1.0)]
    )
    result = metric.evaluate(2)
    assert result["r/psnr"] == pytest.approx((100 + 20) / 2, abs=1e-3)
    assert result["r/mse"] == pytest.approx(0.01 / 2, rel=1e-4)


def random_samples(count: int) -> list[dict]:
    generator = torch.Generator().manual_seed(1)
    return [
        sample(
            torch.rand(3, 16, 16, generator=generator),
            torch.rand(3, 16, 16, generator=generator),
            torch.randint(300, (16,), generator=generator).tolist(),
            size=300,
        )
        for _ in range(count)
    ]


def test_result_does_not_depend_on_batches() -> None:
    samples = random_samples(11)
    whole, parts = ReconstructionMetric(), ReconstructionMetric()
    whole.process({}, samples)
    for start in range(0, 11, 3):
        parts.process({}, samples[start : start + 3])
    assert whole.evaluate(11) == pytest.approx(parts.evaluate(11), rel=1e-6)


def test_padding_beyond_the_data_set_does_not_count() -> None:
    samples = random_samples(5)
    padded, plain = ReconstructionMetric(), ReconstructionMetric()
    padded.process({}, samples)
    plain.process({}, samples[:4])
    assert padded.evaluate(4) == pytest.approx(plain.evaluate(4), rel=1e-6)


def test_pixel_range_does_not_show_in_the_scores() -> None:
    results = []
    for low in (0.0, -1.0):
        metric = ReconstructionMetric()
        for one in random_samples(4):
            images = {key: one[key] * (1 - low) + low for key in ("image", "reconstruction")}
            metric.process({}, [{**one, **images, "pixel_range": (low, 1.0)}])
        results.append(metric.evaluate(4))
    assert results[1] == pytest.approx(results[0], rel=1e-5)


@pytest.mark.filterwarnings("error")
def test_ssim_is_computed_in_float64() -> None:
    # A GPU would keep 10 bits of float32 operands; a variance far below the mean is lost then.
    first = 0.9 + 0.01 * torch.rand(1, 3, 16, 16)
    second = first + 0.002 * torch.rand(1, 3, 16, 16)
    expected = image_ssim(second.double(), first.double(), 1.0)
    torch.testing.assert_close(image_ssim(second, first, 1.0).double(), expected, rtol=0, atol=1e-12)
