"""The probe of the range of pixel values, on small networks that were trained on ramps."""

import pytest
import torch
from torch.nn import functional as F

from seitpp.tokenizers import BlockDCT, PatchKMeans, ViTVQGAN, probe_pixel_range
from seitpp.tokenizers.pixel_range import measure_pixel_range, ramp_image

STACK = {"dims": 32, "depth": 1, "num_heads": 1, "mlp_dims": 64}


def untrained() -> ViTVQGAN:
    torch.manual_seed(0)
    arch = {"encoder": STACK, "decoder": STACK}
    return ViTVQGAN(arch, codebook_size=32, code_dim=4, image_size=32, tile_size=32, patch_size=4)


def trained(low: float, high: float) -> ViTVQGAN:
    """A network that has seen ramps with pixels in this range, and states [0, 1]."""
    tokenizer = untrained()
    optimizer = torch.optim.Adam(tokenizer.parameters(), 3e-3)
    ramp = ramp_image((32, 32)).float() / 255 * (high - low) + low
    images = torch.cat([ramp, ramp.flip(2), ramp.mT, ramp.mT.flip(3)])
    for step in range(80):
        vectors = tokenizer.embed(images)
        if step % 20 == 0:  # rows that are in use
            flat = vectors.detach().movedim(1, -1).flatten(0, 2)
            tokenizer.codebook.data.copy_(flat[torch.randperm(len(flat))[:32]])
        rows, units = tokenizer.lookup(tokenizer.quantize(vectors)), F.normalize(vectors, dim=1)
        loss = (tokenizer.reconstruct(units + (rows - units).detach()) - images).square().mean()
        loss = loss + (rows - units.detach()).square().mean() + 0.25 * (rows.detach() - units).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return tokenizer.eval()


def test_stated_range_is_confirmed_or_refused() -> None:
    tokenizer = trained(0, 1)
    probe = probe_pixel_range(tokenizer)
    assert probe.fits and probe.stated_error < probe.other_error
    assert (probe.stated, probe.other) == ((0.0, 1.0), (-1.0, 1.0))
    tokenizer.pixel_range = (-1.0, 1.0)
    message = r"pixels in \[-1.0, 1.0\]: error [\d.]+ of 255, in \[0.0, 1.0\]: [\d.]+, .* are for the other range"
    with pytest.raises(ValueError, match=message):
        probe_pixel_range(tokenizer)


def test_network_for_symmetric_pixels_is_confirmed_and_refused_too() -> None:
    tokenizer = trained(-1, 1)
    with pytest.raises(ValueError, match="are for the other range"):
        probe_pixel_range(tokenizer)
    tokenizer.pixel_range = (-1.0, 1.0)
    assert probe_pixel_range(tokenizer).fits


@pytest.mark.parametrize("pixel_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_random_weights_are_refused(pixel_range: tuple[float, float]) -> None:
    tokenizer = untrained().eval()
    tokenizer.pixel_range = pixel_range
    with pytest.raises(ValueError, match=r"a flat image: [\d.]+\).* or not trained"):
        probe_pixel_range(tokenizer)


def test_network_without_a_decoder_cannot_be_probed() -> None:
    tokenizer = untrained()
    tokenizer.decoder = None
    with pytest.raises(ValueError, match="the pixel range of ViTVQGAN cannot be probed: it has no decoder"):
        probe_pixel_range(tokenizer)


def test_errors_are_in_units_of_8_bit_pixels() -> None:
    codebook = torch.zeros(1, 3 * 16)  # every patch becomes black
    probe = measure_pixel_range(PatchKMeans(16, 4, codebook=codebook))
    pixels = ramp_image((16, 16)).float()
    assert probe.stated_error == pytest.approx(pixels.square().mean().sqrt().item(), rel=1e-5)
    assert probe.other_error == pytest.approx((pixels - 127.5).square().mean().sqrt().item(), rel=1e-5)
    assert probe.flat_error == pytest.approx(pixels.std(correction=0).item())


def test_tokenizers_without_weights_can_be_probed() -> None:
    assert measure_pixel_range(BlockDCT(32, quality=90)).stated_error < 5


def test_ramp_goes_from_black_to_white_in_colour() -> None:
    ramp = ramp_image((64, 48))
    assert ramp.shape == (1, 3, 64, 48) and ramp.dtype == torch.uint8
    assert ramp.min() == 0 and ramp.max() == 255
    assert (ramp.float().diff(dim=2).abs().max() < 16) and (ramp[:, 0] != ramp[:, 1]).any()
    assert ramp_image((8, 8), channels=1).shape == (1, 1, 8, 8)
