"""Block DCT: against slow formulas, against Pillow's JPEG, bounds, and what is refused."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader, StoreWriter
from seitpp.tokenizers import BlockDCT, tokenizer_from_store
from seitpp.tokenizers.block_dct import dct_basis, quantization_table, zigzag_order


def natural_bytes(size: int, seed: int = 0, channels: int = 3) -> Tensor:
    """Waves of colour with a little noise, (C, size, size), uint8."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(0, 1, size)
    down, right, phase = (torch.rand(3, 6, channels, 1, 1, generator=generator) * torch.tensor(30.0)).unbind(0)
    waves = (down * axis[:, None] + right * axis + phase).sin() / torch.arange(1, 7)[:, None, None, None]
    image = waves.sum(dim=0)
    image = image / image.abs().amax() / 2 + 0.5 + 0.01 * torch.randn(image.shape, generator=generator)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def psnr(one: Tensor, two: Tensor) -> float:
    """In decibels, of 8-bit images."""
    return 10 * math.log10(255**2 / (one.double() - two.double()).square().mean().item())


def recoded(tokenizer: BlockDCT, pixels: Tensor) -> Tensor:
    images = tokenizer.from_bytes(pixels[None])
    return tokenizer.to_bytes(tokenizer.decode(tokenizer.encode(images)))[0]


def jpeg(pixels: Tensor, quality: int) -> tuple[Tensor, dict[int, list[int]]]:
    """What Pillow's JPEG without chroma subsampling makes of an image, and its tables."""
    buffer = io.BytesIO()
    array = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(array if array.shape[2] == 3 else array[..., 0]).save(
        buffer, "JPEG", quality=quality, subsampling=0
    )
    with Image.open(buffer) as image:
        decoded = np.array(image)
        return torch.from_numpy(decoded.reshape(array.shape)).permute(2, 0, 1), image.quantization


def slow_tokens(pixels: Tensor, quality: int, luma: int, chroma: int) -> np.ndarray:
    """Tokens by the formulas, one block at a time: (h, w, channels) before rounding."""
    red, green, blue = pixels.double().numpy()
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    components = [luminance - 128, (blue - luminance) / 1.772, (red - luminance) / 1.402]
    rows, columns = luminance.shape[0] // 8, luminance.shape[1] // 8
    tables = [quantization_table(quality, number > 0).numpy().reshape(8, 8) for number in range(3)]
    result = np.zeros((rows, columns, luma + 2 * chroma))
    for row in range(rows):
        for column in range(columns):
            values = []
            for frequency, place in enumerate(zigzag_order()):
                v, u = divmod(place, 8)
                for number, kept in enumerate((luma, chroma, chroma)):
                    if frequency < kept:
                        block = components[number][row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
                        down = np.cos((2 * np.arange(8) + 1) * v * np.pi / 16)
                        across = np.cos((2 * np.arange(8) + 1) * u * np.pi / 16)
                        scale = (0.5**0.5 if u == 0 else 1) * (0.5**0.5 if v == 0 else 1) / 4
                        values.append(scale * (block * down[:, None] * across).sum() / tables[number][v, u])
            result[row, column] = values
    return result


@pytest.mark.parametrize(("luma", "chroma"), [(64, 64), (21, 6), (5, 0)])
def test_tokens_follow_the_formulas(luma: int, chroma: int) -> None:
    tokenizer = BlockDCT((16, 24), quality=60, luma_coefficients=luma, chroma_coefficients=chroma)
    pixels = natural_bytes(24)[:, :16]
    tokens = tokenizer.encode(tokenizer.from_bytes(pixels[None]))
    assert tokens.dtype == torch.int64 and tokens.shape == (1, *tokenizer.sample_shape)
    assert tokenizer.sample_shape == (2, 3, luma + 2 * chroma)
    exact = slow_tokens(pixels, 60, luma, chroma)
    assert np.abs(tokens[0].numpy() - exact).max() < 0.5 + 1e-3


def test_zigzag_begins_and_ends_as_in_the_standard() -> None:
    order = zigzag_order()
    assert order[:10] == [0, 1, 8, 16, 9, 2, 3, 10, 17, 24] and order[-3:] == [55, 62, 63]
    assert sorted(order) == list(range(64))


def test_basis_is_orthonormal() -> None:
    basis = dct_basis(range(64))
    torch.testing.assert_close(basis @ basis.T, torch.eye(64, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 90, 99, 100])
def test_tables_and_quality_are_those_of_libjpeg(quality: int) -> None:
    decoded, tables = jpeg(natural_bytes(64), quality)
    assert list(tables[0]) == quantization_table(quality, chroma=False).tolist()
    assert list(tables[1]) == quantization_table(quality, chroma=True).tolist()
    ours, theirs = psnr(recoded(BlockDCT(64, quality), natural_bytes(64)), natural_bytes(64)), 0.0
    theirs = psnr(decoded, natural_bytes(64))
    # libjpeg rounds Y, Cb and Cr to 8 bits, which ours does not; that shows only at the finest steps.
    assert -0.05 < ours - theirs < (0.3 if quality < 95 else 4)


def test_quality_100_with_every_coefficient_is_nearly_lossless() -> None:
    pixels = natural_bytes(64)
    assert psnr(recoded(BlockDCT(64, 100), pixels), pixels) > 45


@pytest.mark.parametrize("quality", [30, 90])
def test_grey_is_luma_alone(quality: int) -> None:
    pixels = natural_bytes(32, channels=1)
    tokenizer = BlockDCT(32, quality, luma_coefficients=64, in_channels=1)
    assert tokenizer.channels == 64 and tokenizer.describe()["chroma_coefficients"] == 0
    ours, theirs = psnr(recoded(tokenizer, pixels), pixels), psnr(jpeg(pixels, quality)[0], pixels)
    assert abs(ours - theirs) < 0.3


def test_leaving_frequencies_out_costs_quality() -> None:
    pixels = natural_bytes(64)
    losses = [psnr(recoded(BlockDCT(64, 95, luma, luma // 3), pixels), pixels) for luma in (3, 10, 28, 64)]
    assert losses == sorted(losses)


@settings(deadline=None, max_examples=25)
@given(
    quality=st.integers(1, 100),
    luma=st.integers(1, 64),
    share=st.floats(0, 1),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**31),
)
def test_tokens_survive_decoding_and_encoding(quality: int, luma: int, share: float, channels: int, seed: int) -> None:
    tokenizer = BlockDCT(16, quality, luma, int(luma * share), in_channels=channels)
    images = torch.rand(2, channels, 16, 24, generator=torch.Generator().manual_seed(seed))
    tokens = tokenizer.encode(images)
    assert tokens.min() >= tokenizer.minimum and tokens.max() < tokenizer.minimum + tokenizer.codebook_size
    assert torch.equal(tokenizer.encode(tokenizer.decode(tokens)), tokens)


@pytest.mark.parametrize("quality", [1, 50, 100])
def test_the_bound_is_reached_by_an_image_of_black_and_white_and_never_exceeded(quality: int) -> None:
    tokenizer = BlockDCT(8, quality)
    # The image that drives one frequency to its largest value follows the signs of its cosines.
    signs = torch.cat((tokenizer.basis, -tokenizer.basis)).view(-1, 1, 8, 8) > 0
    tokens = tokenizer.encode(signs.expand(-1, 3, -1, -1).float())
    assert tokens.abs().max() == -tokenizer.minimum and tokenizer.codebook_size == 1 - 2 * tokenizer.minimum


def test_any_batch_gives_the_same_tokens() -> None:
    tokenizer = BlockDCT(16)
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    assert torch.equal(tokenizer.encode(images), torch.cat([tokenizer.encode(image[None]) for image in images]))


def test_autocast_around_it_changes_nothing() -> None:
    tokenizer = BlockDCT(16)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tokenizer.encode(images), (tokens := BlockDCT(16).encode(images)))
        assert torch.equal(tokenizer.decode(tokens), BlockDCT(16).decode(tokens))
        assert tokenizer.decode(tokens).dtype == torch.float32


def test_facts_rebuild_it_and_it_comes_back_from_a_store(tmp_path: Path) -> None:
    tokenizer = BlockDCT((16, 8), 80, 10, 3, resize_mode="center-crop")
    facts = tokenizer.describe()
    with StoreWriter(
        tmp_path / "store",
        codebook_size=tokenizer.codebook_size,
        grid=tokenizer.grid,
        channels=tokenizer.channels,
        minimum=tokenizer.minimum,
        tokenizer={"name": "dct", **facts},
    ) as writer:
        writer.append(tokenizer.encode(torch.rand(1, 3, 16, 8)).numpy())
    again = tokenizer_from_store(StoreReader(tmp_path / "store"))
    assert isinstance(again, BlockDCT) and again.describe() == facts
    images = torch.rand(1, 3, 16, 8)
    assert torch.equal(again.encode(images), tokenizer.encode(images))


def test_there_is_nothing_to_train_or_to_save() -> None:
    tokenizer = TOKENIZERS.build(dict(type="seitpp.BlockDCT", image_size=16))
    assert tokenizer.codebook is None and not tokenizer.state_dict() and not list(tokenizer.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(quality=0), r"quality must be an integer in \[1, 100\], got 0"),
        (dict(quality=101), "got 101"),
        (dict(quality=50.0), "got 50.0"),
        (dict(image_size=20), r"blocks are 8 x 8, got block_size 8 for image_size \(20, 20\)"),
        (dict(block_size=4), "got block_size 4"),
        (dict(in_channels=4), "in_channels must be 3"),
        (dict(luma_coefficients=0), "got 0 and 64"),
        (dict(luma_coefficients=65), "got 65 and 64"),
        (dict(luma_coefficients=3, chroma_coefficients=4), "got 3 and 4"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockDCT(**{"image_size": 16, **options})


def test_tokens_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"int64 of shape \(1, 2, 2, 3\); expected integers \(B, h, w, 12\)"):
        BlockDCT(16, 50, 10, 1).decode(torch.zeros(1, 2, 2, 3, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_tokens_that_are_no_integers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=rf"tokens are {dtype} of shape .*; expected integers"):
        BlockDCT(16, 50, 10, 1).decode(torch.zeros(1, 2, 2, 12, dtype=dtype))


def test_tokens_that_no_image_has_are_refused() -> None:
    tokenizer = BlockDCT(16, 50, 10, 1)
    tokens = torch.zeros(1, 2, 2, 12, dtype=torch.int16)
    for extreme in (tokenizer.minimum, -tokenizer.minimum):
        tokens[0, 0, 0, 0] = extreme
        tokenizer.decode(tokens)
        tokens[0, 0, 0, 0] += 1 if extreme > 0 else -1
        with pytest.raises(ValueError, match=rf"tokens lie in .* at quality 50 they lie in \[{tokenizer.minimum}, "):
            tokenizer.decode(tokens)
        tokens.zero_()


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        BlockDCT(16).encode(torch.rand(1, 3, 12, 16))
