"""`tools/convert_checkpoint.py`: files to files, in both directions, loaded into the models they are for."""

import argparse
import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from helpers.golden import load_golden
from helpers.tools import tool_main
from seitpp.converters import PRESETS, Preset, read_published, to_published
from seitpp.registry import MODELS
from seitpp.tokenizers.codebook import load_codebook

FIXTURE = {
    "mtm": "mtm_forward.npz",
    "mtm-classifier": "mtm_finetune_forward.npz",
    "seit-classifier": "seit_classifier_forward.npz",
}
LAYOUTS = sorted(FIXTURE)


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], int]:
    return tool_main("convert_checkpoint.py")


def release_weights(layout: str) -> dict[str, Tensor]:
    golden = load_golden(FIXTURE[layout])
    return {key[3:]: torch.from_numpy(value) for key, value in golden.items() if key.startswith("sd/")}


def write_release(layout: str, path: Path) -> Path:
    adapt = {"conversion_function.0.weight": torch.zeros(3, 2), "reverse_transform.1.bias": torch.zeros(3)}
    torch.save({"model": {**release_weights(layout), **adapt}, "epoch": 400}, path)
    return path


def inputs_of(golden: dict) -> Tensor:
    """Codes, or embeddings."""
    return torch.from_numpy(golden["in/codes"] if "in/codes" in golden else golden["in/x"])


def build(layout: str) -> nn.Module:
    """The model that the fixture's weights are for."""
    golden, weights = load_golden(FIXTURE[layout]), release_weights(layout)
    config = golden["meta"]["config"]
    width, heads = config["embed_dim"], config["num_heads"]
    kernel, code_dim = weights["patch_embed.proj.weight"].shape[-1], weights["patch_embed.proj.weight"].shape[1]
    if layout == "seit-classifier":  # of embeddings, through the Stem-Adapter
        codebook_size, patch_size = None, kernel // 2
        patch_cfg = dict(kernel_size=kernel, stride=kernel // 2, padding=kernel // 4)
    else:
        codebook_size, patch_size, patch_cfg = len(weights["token_emb.word_embeddings.weight"]), kernel, {}
    backbone = dict(
        arch=dict(
            embed_dims=width,
            num_layers=config["depth"],
            num_heads=heads,
            feedforward_channels=int(width * config["mlp_ratio"]),
        ),
        grid_size=inputs_of(golden).shape[-2:],
        patch_size=patch_size,
        codebook_size=codebook_size,
        code_dim=code_dim,
        patch_cfg=patch_cfg,
    )
    preprocessor = dict(type="seitpp.TokenDataPreprocessor", codebook=torch.ones(codebook_size or 5, code_dim))
    if layout != "mtm":
        pooled = dict(type="seitpp.TokenViT", out_type="avg_featmap", final_norm=False)
        head = dict(type="LinearClsHead", num_classes=len(weights["head.weight"]), in_channels=width)
        parts = dict(type="mmpretrain.ImageClassifier", backbone={**pooled, **backbone}, head=head)
    else:
        decoder = config["decoder_embed_dim"]
        neck = dict(
            type="seitpp.MTMPretrainDecoder",
            num_patches=weights["pos_embed"].shape[1] - 1,
            embed_dims=width,
            decoder_embed_dims=decoder,
            num_layers=config["decoder_depth"],
            num_heads=config["decoder_num_heads"],
            mlp_ratio=config["mlp_ratio"],
        )
        head = dict(
            type="seitpp.MTMPretrainHead",
            codebook_size=codebook_size,
            code_dim=code_dim,
            decoder_embed_dims=decoder,
            patch_size=patch_size,
        )
        ratio = dict(mask_ratio=dict(low=config["mask_ratio_min"]), eval_mask_ratio=1.0)
        parts = dict(type="seitpp.MTM", backbone=dict(type="seitpp.MTMViT", **backbone), neck=neck, head=head, **ratio)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build({**parts, "data_preprocessor": preprocessor}).eval()


def output(layout: str, model: nn.Module) -> tuple[Tensor, Tensor]:
    """What the model makes of the fixture's codes, and what the reference made of them."""
    golden = load_golden(FIXTURE[layout])
    codes = inputs_of(golden)
    with torch.no_grad():
        if layout != "mtm":
            return model.head(model.extract_feat(codes)), torch.from_numpy(golden["out/logits"])
        masks = model.make_masks(torch.from_numpy(golden["in/noise"]), golden["meta"]["mask_ratio"])
        return model.loss_on_masks(codes, masks)["loss"], torch.from_numpy(golden["out/loss"])


@pytest.mark.parity
@pytest.mark.parametrize("layout", LAYOUTS)
def test_converted_file_loads_through_mmengine_and_computes_the_same(
    main: Callable, tmp_path: Path, layout: str
) -> None:
    source, target = write_release(layout, tmp_path / "release.pth"), tmp_path / "new" / "ours.pth"
    assert main([layout, str(source), str(target)]) == 0
    model = build(layout)
    load_checkpoint(model, str(target), map_location="cpu", strict=True)
    found, expected = output(layout, model)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_written_and_dropped_is_printed(
    main: Callable, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture
) -> None:
    source, target = write_release(layout, tmp_path / "release.pth"), tmp_path / "ours.pth"
    main([layout, str(source), str(target)])
    content = torch.load(target, weights_only=True)
    assert content["meta"] == {"converted_from": layout}
    values = sum(value.numel() for value in content["state_dict"].values())
    printed = capsys.readouterr().out
    assert f"{target}: {len(content['state_dict'])} tensors, {values:,} values" in printed
    assert "conversion_function.0.weight, reverse_transform.1.bias" in printed
    assert ("decoder_pos_embed" in printed) == (layout == "mtm")
    assert sorted(os.listdir(tmp_path)) == ["ours.pth", "release.pth"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_export_gives_back_the_release(
    main: Callable, tmp_path: Path, layout: str, capsys: pytest.CaptureFixture
) -> None:
    ours, back = tmp_path / "ours.pth", tmp_path / "back.pth"
    main([layout, str(write_release(layout, tmp_path / "release.pth")), str(ours)])
    model = build(layout)
    load_checkpoint(model, str(ours), map_location="cpu", strict=True)
    torch.save({"state_dict": model.state_dict(), "meta": {"epoch": 1}}, ours)  # as a runner would, codebook included
    capsys.readouterr()
    assert main([layout, str(ours), str(back), "--to-release"]) == 0
    assert "dropped, as they have no counterpart: data_preprocessor.codebook" in capsys.readouterr().out
    content, expected = torch.load(back, weights_only=True), release_weights(layout)
    assert list(content) == ["model"] and content["model"].keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(content["model"][name], value, atol=2e-6, rtol=0)


def refused(main: Callable, arguments: list[str]) -> str:
    with contextlib.redirect_stderr(io.StringIO()) as output:
        assert main(arguments) == 1
    (message,) = output.getvalue().splitlines()
    return message.partition("error: ")[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_wrong_layout_is_refused_and_writes_nothing(main: Callable, tmp_path: Path, layout: str) -> None:
    other = "mtm" if layout == "mtm-classifier" else "mtm-classifier"
    source = write_release(other, tmp_path / "release.pth")
    message = refused(main, [layout, str(source), str(tmp_path / "new" / "ours.pth")])
    assert message.startswith(f"{source}: release checkpoint ({layout})")
    unknown = {"mtm": "head.weight", "mtm-classifier": "mask_token_label", "seit-classifier": "token_emb.LayerNorm"}
    assert unknown[layout] in message
    assert os.listdir(tmp_path) == ["release.pth"]


def test_wrong_direction_is_refused(main: Callable, tmp_path: Path) -> None:
    source = write_release("mtm", tmp_path / "release.pth")
    message = refused(main, ["mtm", str(source), str(tmp_path / "out.pth"), "--to-release"])
    assert f"unknown keys: {next(iter(release_weights('mtm')))}" in message and "missing keys: backbone." in message
    assert not (tmp_path / "out.pth").exists()


def test_missing_source_is_refused(main: Callable, tmp_path: Path) -> None:
    assert "does not exist" in refused(main, ["mtm", str(tmp_path / "none.pth"), str(tmp_path / "out.pth")])


class Payload:
    """Would create a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_code_in_the_source_is_not_run(main: Callable, tmp_path: Path) -> None:
    torch.save({"model": release_weights("mtm"), "args": Payload(tmp_path / "ran")}, tmp_path / "release.pth")
    message = refused(main, ["mtm", str(tmp_path / "release.pth"), str(tmp_path / "out.pth")])
    assert "nothing in it was run" in message
    assert os.listdir(tmp_path) == ["release.pth"]


@pytest.mark.parametrize("in_zip", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_checkpoint_with_its_settings_is_read(
    main: Callable, layout: str, in_zip: bool, tmp_path: Path
) -> None:
    """As the release's own scripts save them: settings, optimizer, loss scale beside the weights."""
    weights = release_weights(layout)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
    settings = argparse.Namespace(lr=1e-3, output_dir=Path("x"), device=torch.device("cpu"), dist=None)
    content = {"model": weights, "optimizer": optimizer.state_dict(), "epoch": 399, "scaler": {"scale": 65536.0}}
    torch.save({**content, "args": settings}, tmp_path / "a.pth", _use_new_zipfile_serialization=in_zip)
    assert main([layout, str(tmp_path / "a.pth"), str(tmp_path / "ours.pth")]) == 0
    torch.save({"model": weights}, tmp_path / "b.pth")
    main([layout, str(tmp_path / "b.pth"), str(tmp_path / "same.pth")])
    found, expected = (torch.load(tmp_path / name, weights_only=True) for name in ("ours.pth", "same.pth"))
    assert found["meta"] == expected["meta"]
    assert all(torch.equal(found["state_dict"][name], value) for name, value in expected["state_dict"].items())


def test_average_of_a_training_checkpoint_can_be_taken(main: Callable, tmp_path: Path) -> None:
    weights = release_weights("mtm-classifier")
    average = {name: value + 1 for name, value in weights.items()}
    torch.save({"model": weights, "model_ema": average, "args": argparse.Namespace()}, tmp_path / "a.pth")
    main(["mtm-classifier", str(tmp_path / "a.pth"), str(tmp_path / "ours.pth"), "--key", "model_ema"])
    found = torch.load(tmp_path / "ours.pth", weights_only=True)["state_dict"]
    assert torch.equal(found["head.fc.bias"], average["head.bias"])
    message = refused(main, ["mtm", str(tmp_path / "a.pth"), str(tmp_path / "out.pth"), "--key", "ema"])
    assert "holds no weights under 'ema'; it has some under model, model_ema" in message


@pytest.mark.parametrize("layout", [*LAYOUTS, "tokenadapt"])
def test_refusal_names_the_file_once_and_gives_no_advice_to_unpickle(
    main: Callable, layout: str, tmp_path: Path
) -> None:
    torch.save({"model": {"x": Payload(tmp_path / "ran")}}, tmp_path / "a.pth")
    message = refused(main, [layout, str(tmp_path / "a.pth"), str(tmp_path / "out.pth")])
    assert message.count(str(tmp_path / "a.pth")) == 1 and "weights_only" not in message
    assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.parametrize("layout", [*LAYOUTS, "vitvqgan_base", "codebook"])
@pytest.mark.parametrize("to_release", [True, False])
def test_source_is_never_written_over(main: Callable, layout: str, to_release: bool, tmp_path: Path) -> None:
    source = write_release("mtm", tmp_path / "a.pth")
    (tmp_path / "b.pth").hardlink_to(source)
    before = source.read_bytes()
    for target in ("a.pth", "b.pth"):
        option = ["--to-release"] if to_release and layout != "codebook" else []
        message = refused(main, [layout, str(source), str(tmp_path / target), *option])
        assert "is what would be read" in message and "write to another file" in message
    assert source.read_bytes() == before


def test_weights_that_are_not_finite_are_refused(main: Callable, tmp_path: Path) -> None:
    weights = release_weights("mtm")
    weights["mlm_layer.bias"] = weights["mlm_layer.bias"].clone().fill_(torch.inf)
    torch.save({"model": weights}, tmp_path / "a.pth")
    message = refused(main, ["mtm", str(tmp_path / "a.pth"), str(tmp_path / "out.pth")])
    assert "holds values that are NaN or infinite in mlm_layer.bias" in message
    assert os.listdir(tmp_path) == ["a.pth"]


def test_unknown_layout_is_refused(main: Callable, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["deit", "a.pth", "b.pth"])
    assert "invalid choice: 'deit'" in capsys.readouterr().err


# Tokenizers.

STACK = {"dims": 16, "depth": 1, "num_heads": 2, "mlp_dims": 32}
TINY = dict(
    type="seitpp.ViTVQGAN",
    arch={"encoder": STACK, "decoder": STACK},
    codebook_size=30,
    code_dim=6,
    image_size=16,
    tile_size=16,
    patch_size=4,
)


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A training checkpoint of a small ViT-VQGAN as published, random weights."""
    monkeypatch.setitem(PRESETS, "vitvqgan_base", Preset(TINY, PRESETS["vitvqgan_base"].family))
    torch.manual_seed(0)
    tokenizer = MODELS.build(dict(TINY))
    weights = {**to_published(tokenizer.state_dict(), "vitvqgan_base", tokenizer), "loss.x": torch.zeros(1)}
    torch.save({"state_dict": weights, "callbacks": {Payload: 1}}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_tokenizer_is_converted_and_counted(
    main: Callable, published: Path, suffix: str, capsys: pytest.CaptureFixture
) -> None:
    target = published.with_name(f"ours{suffix}")
    assert main(["vitvqgan_base", str(published), str(target), "--no-probe"]) == 0
    tokenizer = MODELS.build({**TINY, "checkpoint": str(target)})
    count = len(tokenizer.state_dict())
    values = sum(value.numel() for value in tokenizer.state_dict().values())
    printed = capsys.readouterr().out
    assert f"{target}: {count} tensors, {values:,} values" in printed
    assert f"{count} keys loaded, 0 missing, 3 ignored" in printed and "loss.x" in printed
    assert "the range of pixel values was not checked" in printed


def test_tokenizer_goes_back_to_its_published_names(main: Callable, published: Path) -> None:
    ours, back = published.with_name("ours.pth"), published.with_name("back.pth")
    main(["vitvqgan_base", str(published), str(ours), "--no-probe"])
    assert main(["vitvqgan_base", str(ours), str(back), "--to-release"]) == 0
    found = torch.load(back, weights_only=True)["state_dict"]
    main(["vitvqgan_base", str(back), str(published.with_name("again.pth")), "--no-probe"])
    again = torch.load(published.with_name("again.pth"), weights_only=True)["state_dict"]
    assert "quantizer.embedding.weight" in found and "loss.x" not in found
    for name, value in torch.load(ours, weights_only=True)["state_dict"].items():
        assert torch.equal(again[name], value), name


def test_export_without_a_decoder_says_so(main: Callable, published: Path, capsys: pytest.CaptureFixture) -> None:
    content = read_published(published)
    weights = {name: value for name, value in content.items() if not name.startswith(("decoder", "post_quant"))}
    torch.save(weights, published)
    ours, back = published.with_name("ours.pth"), published.with_name("back.pth")
    main(["vitvqgan_base", str(published), str(ours)])
    main(["vitvqgan_base", str(ours), str(back), "--to-release"])
    assert f"no decoder in {ours}: the file has none either" in capsys.readouterr().out
    assert refused(main, ["vitvqgan_base", str(ours), str(back)]).startswith(f"{ours} is already converted")


def test_probe_result_is_printed(
    main: Callable, published: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seitpp.tokenizers.pixel_range.RangeProbe.fits", True)
    main(["vitvqgan_base", str(published), str(published.with_name("ours.pth"))])
    assert "reconstructs a ramp with pixels in [0.0, 1.0]: error " in capsys.readouterr().out


def test_random_weights_are_refused_and_nothing_is_written(main: Callable, published: Path) -> None:
    message = refused(main, ["vitvqgan_base", str(published), str(published.with_name("ours.pth"))])
    assert message.startswith(f"{published} as vitvqgan_base: ViTVQGAN reconstructs a ramp no better")
    assert os.listdir(published.parent) == ["last.ckpt"]


def test_file_of_another_tokenizer_is_refused(main: Callable, published: Path) -> None:
    message = refused(main, ["ldm_vq_f8", str(published), str(published.with_name("ours.pth"))])
    assert "is not a ldm_vq_f8 as published" in message and "unknown keys: " in message


def test_encoder_alone_is_converted_with_a_note(main: Callable, published: Path, capsys: pytest.CaptureFixture) -> None:
    content = read_published(published)
    weights = {name: value for name, value in content.items() if not name.startswith(("decoder", "post_quant"))}
    torch.save(weights, published)
    main(["vitvqgan_base", str(published), str(published.with_name("ours.pth"))])
    assert "no decoder in the file: it can encode, not decode" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".npy", ".ckpt"])
def test_codebook_alone_is_taken_out(
    main: Callable, published: Path, suffix: str, capsys: pytest.CaptureFixture
) -> None:
    target = published.with_name(f"codebook{suffix}")
    assert main(["codebook", str(published), str(target)]) == 0
    assert f"{target}: K x D = 30 x 6" in capsys.readouterr().out
    main(["vitvqgan_base", str(published), str(published.with_name("a.pth")), "--no-probe", "--codebook", str(target)])
    weights = torch.load(published.with_name("a.pth"), weights_only=True)["state_dict"]
    assert weights["codebook"].tolist() == load_codebook(target).tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mtm", "a", "b", "--no-probe"], "are for tokenizers, not for mtm"),
        (["codebook", "a", "b", "--codebook", "c"], "are for tokenizers, not for codebook"),
        (["codebook", "a", "b", "--to-release"], "--to-release goes with neither"),
        (["ldm_vq_f8", "a", "b", "--to-release", "--no-probe"], "--to-release goes with neither"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(
    main: Callable, arguments: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err
