"""VQGAN and its relatives: numbers of the reference, sizes of the published models, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.golden import golden_vqgan, golden_weights, load_golden
from seitpp.converters import from_published
from seitpp.tokenizers import VQGAN
from seitpp.tokenizers.vqgan import ARCHS, AttentionBlock, Downsample, ResBlock

SMALL = {
    "channels": 32,
    "multipliers": (1, 1, 2),
    "num_res_blocks": 1,
    "attention_at": (4,),
    "resolution": 16,
    "z_channels": 6,
    "codebook_size": 40,
    "code_dim": 5,
}
# Encoder, decoder and quantiser of the published models, in values.
PUBLISHED = {
    "vqgan_f16_1024": (29_298_176, 42_449_795, 262_144),
    "vqgan_f16_16384": (29_298_176, 42_449_795, 4_194_304),
    "vqgan_gumbel_f8": (26_345_728, 38_316_163, 4_202_496),
    "ldm_vq_f8": (27_397_764, 40_253_955, 65_536),
    "ldm_vq_f8_n256": (27_397_764, 40_253_955, 1_024),
}


@pytest.mark.parametrize("middle_attention", [True, False])
def test_attention_in_the_middle_can_be_left_out(middle_attention: bool) -> None:
    tokenizer = VQGAN({**SMALL, "middle_attention": middle_attention}, image_size=16)
    names = {name for name in tokenizer.state_dict() if ".mid.1." in name}
    assert bool(names) == middle_attention and (len(names) == 20 or not names)
    assert tokenizer.decode(tokenizer.encode(torch.rand(1, 3, 16, 16))).shape == (1, 3, 16, 16)
    again = VQGAN(**tokenizer.describe_networks(), image_size=16)
    assert again.state_dict().keys() == tokenizer.state_dict().keys()
    # Stores that were made before it was an option record none.
    assert ("middle_attention" in tokenizer.describe_networks()["arch"]) != middle_attention


def golden_tokenizer(golden: dict) -> VQGAN:
    """The fixture's networks with its weights."""
    tokenizer = VQGAN(**golden_vqgan(golden))
    weights = from_published(golden_weights(golden), "vqgan_f16_1024", tokenizer).weights
    tokenizer.load_weights(weights, "the fixture")
    return tokenizer.eval()


def assert_close(found: Tensor, golden: dict, name: str, tolerance: float) -> None:
    torch.testing.assert_close(found.detach(), torch.from_numpy(golden[f"out/{name}"]), atol=tolerance, rtol=0)


@pytest.mark.parity
def test_numbers_of_the_reference() -> None:
    golden = load_golden("vqgan.npz")
    tokenizer = golden_tokenizer(golden)
    images = torch.from_numpy(golden["in/image"])
    assert_close(tokenizer.encoder.features(images), golden, "encoder", 2e-5)
    vectors = tokenizer.embed(images)
    assert_close(vectors, golden, "prequant", 2e-5)
    codes = tokenizer.encode(images)
    np.testing.assert_array_equal(codes.flatten().numpy(), golden["out/codes"].flatten())
    rows = tokenizer.lookup(codes)
    assert_close(rows, golden, "quant", 1e-6)
    assert_close(tokenizer.reconstruct(rows), golden, "recon", 2e-5)
    assert_close(tokenizer.decode(codes), golden, "recon", 2e-5)
    error = (rows - vectors).square().mean() * (1 + golden["meta"]["beta"])
    assert error.item() == pytest.approx(golden["out/commit_loss"].item(), rel=1e-5)


def count(tokenizer: VQGAN, *prefixes: str) -> int:
    return sum(value.numel() for name, value in tokenizer.named_parameters() if name.startswith(prefixes))


@pytest.mark.parametrize("arch", PUBLISHED)
def test_size_of_the_published_models(arch: str) -> None:
    with torch.device("meta"):
        tokenizer = VQGAN(arch)
    # The published counts leave the two 1 x 1 convolutions around the codebook out.
    encoder = count(tokenizer, "encoder") - count(tokenizer, "encoder.pre_quant")
    decoder = count(tokenizer, "decoder") - count(tokenizer, "decoder.post_quant")
    assert (encoder, decoder, count(tokenizer, "codebook", "code_scores")) == PUBLISHED[arch]


@pytest.mark.parametrize(
    ("arch", "grid", "size", "dims", "distance"),
    [
        ("vqgan_f16_1024", 16, 1024, 256, "euclidean"),
        ("vqgan_f16_16384", 16, 16384, 256, "euclidean"),
        ("vqgan_gumbel_f8", 32, 8192, 256, "euclidean"),
        ("ldm_vq_f4", 64, 8192, 3, "euclidean"),
        ("ldm_vq_f4_noattn", 64, 8192, 3, "euclidean"),
        ("ldm_vq_f8", 32, 16384, 4, "euclidean"),
        ("ldm_vq_f8_n256", 32, 256, 4, "euclidean"),
        ("ldm_vq_f16", 16, 16384, 8, "euclidean"),
        ("llamagen_vq16", 16, 16384, 8, "cosine"),
        ("llamagen_vq8", 32, 16384, 8, "cosine"),
    ],
)
def test_grid_and_codebook_of_the_published_models(arch: str, grid: int, size: int, dims: int, distance: str) -> None:
    with torch.device("meta"):
        tokenizer = VQGAN(arch)
    assert tokenizer.grid == (grid, grid) and tokenizer.codebook.shape == (size, dims)
    assert tokenizer.distance == distance and (tokenizer.code_scores is not None) == ("gumbel" in arch)
    assert tokenizer.pixel_range == (-1.0, 1.0) and tokenizer.resize_mode == "center-crop"
    assert set(ARCHS) >= {arch} and tokenizer.preset == arch


def test_residual_block_against_a_slow_computation() -> None:
    torch.manual_seed(0)
    block = ResBlock(32, 64).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 32, 4, 6).double()

    def normed(x: Tensor, norm: nn.GroupNorm) -> Tensor:
        groups = x.view(2, 32, -1)
        mean, variance = groups.mean(-1, keepdim=True), groups.var(-1, keepdim=True, unbiased=False)
        unit = ((groups - mean) / (variance + 1e-6).sqrt()).view_as(x)
        return unit * norm.weight[:, None, None] + norm.bias[:, None, None]

    def swish(x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)

    hidden = block.conv2(swish(normed(block.conv1(swish(normed(x, block.norm1))), block.norm2)))
    torch.testing.assert_close(block(x), block.shortcut(x) + hidden, atol=1e-9, rtol=1e-9)


def test_attention_against_a_slow_computation() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(32).double()
    x = torch.randn(2, 32, 3, 4).double()
    normed = block.norm(x)
    q, k, v = (part(normed).flatten(2) for part in (block.q, block.k, block.v))  # (B, C, N)
    weights = torch.einsum("bci,bcj->bij", q, k).div(32**0.5).softmax(dim=2)
    attended = torch.einsum("bij,bcj->bci", weights, v).view_as(x)
    torch.testing.assert_close(block(x), x + block.out(attended), atol=1e-9, rtol=1e-9)


def test_downsampling_pads_below_and_on_the_right_alone() -> None:
    layer = Downsample(1)
    nn.init.zeros_(layer.conv.weight)
    nn.init.zeros_(layer.conv.bias)
    layer.conv.weight.data[0, 0, 0, 0] = 1  # picks the upper left of each window
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert torch.equal(layer(x), x[:, :, ::2, ::2])


def test_attention_is_where_the_configured_resolution_says_at_any_size() -> None:
    torch.manual_seed(0)
    tokenizer = VQGAN(SMALL, image_size=16).eval()
    assert [len(level.attentions) for level in tokenizer.encoder.levels] == [0, 0, 1]
    assert [len(level.attentions) for level in tokenizer.decoder.levels] == [0, 0, 2]
    calls: list[torch.Size] = []
    tokenizer.encoder.levels[2].attentions[0].register_forward_hook(lambda *args: calls.append(args[2].shape[2:]))
    images = torch.rand(2, 3, 32, 24) * 2 - 1
    codes = tokenizer.encode(images)
    assert calls == [(8, 6)] and codes.shape == (2, 8, 6) and tokenizer.decode(codes).shape == images.shape


def test_scores_repeat_and_ignore_the_codebook() -> None:
    torch.manual_seed(0)
    tokenizer = VQGAN({**SMALL, "quantizer": "logits"}, image_size=16)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    codes = tokenizer.encode(images)
    with torch.no_grad():
        tokenizer.codebook.normal_()
    assert torch.equal(tokenizer.encode(images), codes)
    assert torch.equal(codes, tokenizer.code_scores(tokenizer.embed(images)).argmax(dim=1))


def test_scores_are_made_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tokenizer = VQGAN({**SMALL, "quantizer": "logits"}, image_size=16)
    vectors = torch.randn(3, tokenizer.code_scores.in_channels, 5, 7)
    whole = tokenizer.code_scores(vectors).argmax(dim=1)
    sizes, addmm = [], torch.addmm

    def counted(bias: Tensor, rows: Tensor, table: Tensor) -> Tensor:
        sizes.append(len(rows))
        return addmm(bias, rows, table)

    monkeypatch.setattr("seitpp.tokenizers.codebook._CPU_SCORE_ELEMENTS", 10 * tokenizer.codebook_size)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch, "addmm", counted)
    codes = tokenizer.quantize(vectors)
    assert codes.dtype == torch.int64 and torch.equal(codes, whole)
    assert max(sizes) == 10 and sum(sizes) == 3 * 5 * 7


def test_facts_rebuild_networks_of_any_sizes() -> None:
    facts = VQGAN({**SMALL, "quantizer": "cosine"}, image_size=16, precision="bfloat16").describe()
    options = {key: facts[key] for key in ("arch", "image_size", "in_channels", "resize_mode", "precision")}
    again = VQGAN(**options).describe()
    assert {**again, "weights_sha256": None} == {**facts, "weights_sha256": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(arch="vqgan_f32"), "arch 'vqgan_f32' is not known; expected one of vqgan_f16_1024, "),
        (dict(arch={**SMALL, "ch": 3}), "arch is missing, or has and should not: ch; expected multipliers"),
        (dict(arch={"z_channels": 3}), "should not: attention_at, code_dim, codebook_size, multipliers;"),
        (dict(arch={**SMALL, "channels": 48}), "channels must be a multiple of 32, got 48"),
        (dict(arch={**SMALL, "quantizer": "nearest"}), "quantizer must be .* got 'nearest'"),
        (dict(image_size=18), r"image_size \(18, 18\) is not a multiple of the stride 4"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VQGAN(**{"arch": SMALL, "image_size": 16, **options})
