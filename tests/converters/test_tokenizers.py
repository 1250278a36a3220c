"""Published tokenizer weights to ours and back: by name, and what is refused."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.golden import golden_vit_vqgan, golden_vqgan, golden_weights, load_golden
from seitpp.converters import PRESETS, from_published, to_published
from seitpp.io.plain_objects import UnreadTensor
from seitpp.tokenizers import VQGAN, ViTVQGAN, VQTokenizer

STACK = {"dims": 16, "depth": 2, "num_heads": 2, "mlp_dims": 32}
EXTRA = {  # what a training checkpoint of each family holds beside the tokenizer
    "vit": ["loss.perceptual_loss.net.slice1.0.weight", "loss.discriminator.weight"],
    "taming": ["loss.discriminator.main.0.weight", "loss.perceptual_loss.lin0.model.1.weight"],
    "gumbel": ["loss.discriminator.main.0.weight"],
    "ldm": ["loss.discriminator.main.0.weight", "model_ema.decay", "model_ema.encoderconv_inweight"],
    "llamagen": ["quantize.codebook_used"],
}
# Names that the published files are known to have, at the ends of networks and where families differ.
KNOWN = {
    "vitvqgan_base": [
        "encoder.to_patch_embedding.0.weight",
        "encoder.transformer.layers.1.0.fn.to_qkv.weight",
        "encoder.transformer.layers.0.0.fn.to_out.bias",
        "encoder.transformer.layers.0.1.fn.net.2.weight",
        "encoder.transformer.norm.bias",
        "pre_quant.weight",
        "quantizer.embedding.weight",
        "post_quant.bias",
        "decoder.to_pixel.1.weight",
    ],
    "vqgan_f16_1024": [
        "encoder.down.1.downsample.conv.weight",
        "encoder.down.2.attn.0.proj_out.weight",
        "encoder.mid.block_1.norm1.weight",
        "encoder.mid.attn_1.q.bias",
        "decoder.up.2.upsample.conv.bias",
        "decoder.up.2.attn.1.k.weight",
        "decoder.up.0.block.1.conv2.weight",
        "quant_conv.weight",
        "quantize.embedding.weight",
    ],
    "vqgan_gumbel_f8": ["quantize.proj.weight", "quantize.proj.bias", "quantize.embed.weight"],
    "llamagen_vq16": [
        "encoder.conv_blocks.2.attn.0.proj_out.weight",
        "encoder.conv_blocks.1.downsample.conv.weight",
        "encoder.mid.1.proj_out.weight",
        "encoder.mid.2.conv1.weight",
        "decoder.conv_blocks.0.attn.1.q.weight",  # levels in the order in which they run
        "decoder.conv_blocks.1.upsample.conv.weight",
        "decoder.conv_blocks.2.res.1.norm2.weight",
        "quantize.embedding.weight",
        "post_quant_conv.bias",
    ],
}


def small(preset: str) -> VQTokenizer:
    """The preset's networks, small."""
    torch.manual_seed(0)
    if "vit" in preset:
        return ViTVQGAN({"encoder": STACK, "decoder": STACK}, 30, code_dim=6, image_size=16, tile_size=16, patch_size=4)
    arch: dict[str, Any] = {
        "channels": 32,
        "multipliers": (1, 2, 2),
        "num_res_blocks": 1,
        "attention_at": (4,),
        "resolution": 16,
        "z_channels": 6,
        "codebook_size": 30,
        "code_dim": 5,
        "quantizer": "logits" if "gumbel" in preset else "cosine" if "llamagen" in preset else "euclidean",
    }
    return VQGAN(arch, image_size=16)


def family_of(preset: str) -> str:
    return next((name for name in ("vit", "gumbel", "ldm", "llamagen") if name in preset), "taming")


def published(preset: str, tokenizer: VQTokenizer) -> dict[str, Tensor]:
    """The tokenizer's weights under their published names, with what else such a file holds."""
    extra = {name: torch.zeros(2) for name in EXTRA[family_of(preset)]}
    return {**to_published(tokenizer.state_dict(), preset, tokenizer), **extra}


# One preset a family: the others differ in sizes alone.
every_preset = pytest.mark.parametrize(
    "preset", ["vitvqgan_base", "vqgan_f16_1024", "vqgan_gumbel_f8", "ldm_vq_f8", "llamagen_vq16"]
)


@every_preset
def test_there_and_back_gives_the_same_weights(preset: str) -> None:
    tokenizer = small(preset)
    theirs = published(preset, tokenizer)
    ours = from_published(theirs, preset, tokenizer)
    assert ours.weights.keys() == tokenizer.state_dict().keys() and ours.has_decoder
    assert all(torch.equal(value, tokenizer.state_dict()[name]) for name, value in ours.weights.items())
    fixed = PRESETS[preset].family.positions
    assert set(ours.dropped) == {*EXTRA[family_of(preset)], *fixed}
    assert len(theirs) == len(ours.weights) + len(ours.dropped)  # no name is used twice


@pytest.mark.parametrize("preset", PRESETS)
def test_published_names_at_full_size_are_all_different(preset: str) -> None:
    tokenizer = PRESETS[preset].build_empty()
    theirs = to_published(tokenizer.state_dict(), preset, tokenizer)
    family = PRESETS[preset].family
    assert len(theirs) == len(tokenizer.state_dict()) + len(family.positions) + len(family.restored)


@pytest.mark.parametrize("preset", KNOWN)
def test_names_are_the_published_ones(preset: str) -> None:
    assert [name for name in KNOWN[preset] if name not in published(preset, small(preset))] == []


@pytest.mark.parity
@pytest.mark.parametrize(
    ("fixture", "preset"), [("vitvqgan.npz", "vitvqgan_base"), ("vqgan.npz", "vqgan_f16_1024")], ids=["vit", "conv"]
)
def test_every_name_of_the_reference_is_known(fixture: str, preset: str) -> None:
    golden = load_golden(fixture)
    weights = golden_weights(golden)
    if fixture == "vqgan.npz":
        tokenizer: VQTokenizer = VQGAN(**golden_vqgan(golden))
    else:
        tokenizer = ViTVQGAN(**golden_vit_vqgan(golden))
    ours = from_published(weights, preset, tokenizer).weights
    back = to_published(ours, preset, tokenizer)
    assert back.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(back[name], value, atol=2e-6 if "pos_embedding" in name else 0, rtol=0)


@every_preset
def test_unknown_keys_are_listed(preset: str) -> None:
    tokenizer = small(preset)
    weights = {**published(preset, tokenizer), "encoder.extra.weight": torch.zeros(1), "losses.x": torch.zeros(1)}
    with pytest.raises(ValueError, match=rf"is not a {preset} .*; unknown keys: encoder\.extra\.weight, losses\.x$"):
        from_published(weights, preset, tokenizer)


@every_preset
def test_decoder_may_be_absent_but_not_in_part(preset: str) -> None:
    tokenizer = small(preset)
    weights = published(preset, tokenizer)
    of_decoder = [name for name in weights if re.match("decoder|post_quant", name)]
    ours = from_published({name: weights[name] for name in weights.keys() - of_decoder}, preset, tokenizer)
    assert not ours.has_decoder and not any(name.startswith("decoder") for name in ours.weights)
    del weights[next(name for name in of_decoder if "pos_embedding" not in name)]
    with pytest.raises(ValueError, match=r"; missing keys: (decoder|post_quant)"):
        from_published(weights, preset, tokenizer)


@every_preset
def test_missing_encoder_or_codebook_is_refused(preset: str) -> None:
    tokenizer = small(preset)
    weights = published(preset, tokenizer)
    for name in weights:
        if re.match(r"pre_quant|quant_conv|quantizer?\.emb|quantize\.proj|encoder\.\w+\.1\.", name):
            rest = {other: value for other, value in weights.items() if other != name}
            with pytest.raises(ValueError, match=rf"missing keys: {re.escape(name)}$"):
                from_published(rest, preset, tokenizer)


@every_preset
def test_codebook_of_another_size_is_named_by_both(preset: str) -> None:
    tokenizer = small(preset)
    weights = published(preset, tokenizer)
    name = next(name for name in weights if re.match(r"quantizer?\.embed", name))
    size, dims = weights[name].shape
    weights[name] = torch.zeros(size + 1, dims + 2)
    with pytest.raises(ValueError, match=rf"K x D = {size + 1} x {dims + 2}, {preset} has {size} x {dims}"):
        from_published(weights, preset, tokenizer)


@every_preset
def test_other_widths_are_named_by_both(preset: str) -> None:
    tokenizer = small(preset)
    weights = published(preset, tokenizer)
    name = next(name for name in weights if name.startswith("encoder.") and name.endswith("bias"))
    weights[name] = torch.zeros(3)
    with pytest.raises(ValueError, match=rf"wrong shapes: {re.escape(name)} \(3,\), expected \(\d+,\)"):
        from_published(weights, preset, tokenizer)


def test_seit_with_the_whole_codebook_is_told_about_the_option() -> None:
    tokenizer = small("seit_vitvqgan")
    weights = {**published("seit_vitvqgan", tokenizer), "quantizer.embedding.weight": torch.zeros(8192, 6)}
    with pytest.raises(ValueError, match=r"8192 x 6, seit_vitvqgan has 30 x 6; .* pass --codebook FILE"):
        from_published(weights, "seit_vitvqgan", tokenizer)


@pytest.mark.parametrize("name", ["encoder.en_pos_embedding", "decoder.de_pos_embedding"])
def test_positions_that_are_not_the_analytic_ones_are_refused(name: str) -> None:
    tokenizer = small("vitvqgan_base")
    weights = published("vitvqgan_base", tokenizer)
    table = weights[name]
    weights[name] = table + 1e-3
    with pytest.raises(ValueError, match=rf"{name} is not the sine-cosine table .* largest difference is 0\.001, exp"):
        from_published(weights, "vitvqgan_base", tokenizer)
    weights[name] = table.clone().fill_(torch.nan)
    with pytest.raises(ValueError, match=rf"{name} is not the sine-cosine table .* largest difference is nan"):
        from_published(weights, "vitvqgan_base", tokenizer)
    weights[name] = table[:, :-1]
    with pytest.raises(ValueError, match=rf"{name} has shape \(1, 15, 16\), .* grid has \(1, 16, 16\)"):
        from_published(weights, "vitvqgan_base", tokenizer)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@every_preset
def test_weights_that_are_not_finite_are_refused(preset: str, value: float) -> None:
    tokenizer = small(preset)
    weights = published(preset, tokenizer)
    weights |= {name: torch.full((2,), value) for name in EXTRA[family_of(preset)]}
    assert from_published(weights, preset, tokenizer).has_decoder  # what is dropped may be anything
    needed = to_published(tokenizer.state_dict(), preset, tokenizer).keys() - PRESETS[preset].family.positions.keys()
    for start in ("encoder.", "quantize"):
        name = next(name for name in weights if name.startswith(start) and name in needed)
        broken = weights[name].clone()
        broken.view(-1)[1] = value
        with pytest.raises(ValueError, match=rf"^x holds values that are NaN or infinite in {re.escape(name)} \(1 of"):
            from_published({**weights, name: broken}, preset, tokenizer, "x")


def test_weights_that_are_no_floats_are_refused() -> None:
    tokenizer = small("vqgan_f16_1024")
    weights = published("vqgan_f16_1024", tokenizer)
    weights["quant_conv.bias"] = weights["quant_conv.bias"].int()
    with pytest.raises(ValueError, match=r"quant_conv\.bias holds torch\.int32, expected floating-point weights"):
        from_published(weights, "vqgan_f16_1024", tokenizer)


def test_unread_tensor_is_refused_where_it_is_needed() -> None:
    tokenizer = small("vitvqgan_base")
    weights = published("vitvqgan_base", tokenizer)
    unread = UnreadTensor("torch.Tensor", reason="it is odd")
    assert from_published({**weights, "loss.discriminator.weight": unread}, "vitvqgan_base", tokenizer).has_decoder
    for name in ("pre_quant.weight", "encoder.en_pos_embedding", "quantizer.embedding.weight"):
        with pytest.raises(ValueError, match=rf"^x: {name} is a tensor that cannot be read: it is odd$"):
            from_published({**weights, name: unread}, "vitvqgan_base", tokenizer, "x")


@every_preset
def test_weights_without_a_decoder_go_back_without_it(preset: str) -> None:
    tokenizer = small(preset)
    ours = {name: value for name, value in tokenizer.state_dict().items() if not name.startswith("decoder.")}
    back = to_published(ours, preset, tokenizer)
    assert not any(name.startswith(("decoder", "post_quant")) for name in back)
    again = from_published(back, preset, tokenizer)
    assert not again.has_decoder and again.weights.keys() == ours.keys()


def test_list_of_used_codes_is_handed_on() -> None:
    tokenizer = small("vqgan_f16_1024")
    weights = {**published("vqgan_f16_1024", tokenizer), "quantize.used": torch.tensor([4, 2, 9], dtype=torch.int32)}
    ours = from_published(weights, "vqgan_f16_1024", tokenizer)
    assert ours.used_codes.tolist() == [4, 2, 9] and "quantize.used" in ours.dropped


@every_preset
def test_export_of_other_names_is_refused(preset: str) -> None:
    tokenizer = small(preset)
    weights = tokenizer.state_dict()
    del weights["encoder.pre_quant.bias"]
    with pytest.raises(ValueError, match=rf"not those of {preset}; missing or unknown keys: encoder\.pre_quant\.bias$"):
        to_published({**weights}, preset, tokenizer)
