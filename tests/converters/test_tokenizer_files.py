"""Files of published tokenizers: what is read from them, and what is written."""

import argparse
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from seitpp.converters import (
    PRESETS,
    Preset,
    convert_tokenizer,
    export_tokenizer,
    read_codebook,
    read_published,
    to_published,
    tokenizer_files,
)
from seitpp.registry import TOKENIZERS
from seitpp.tokenizers import VQTokenizer
from seitpp.tokenizers.pixel_range import RangeProbe

STACK = {"dims": 16, "depth": 1, "num_heads": 2, "mlp_dims": 32}
VIT = dict(
    type="seitpp.ViTVQGAN",
    arch={"encoder": STACK, "decoder": STACK},
    codebook_size=30,
    code_dim=6,
    image_size=16,
    tile_size=16,
    patch_size=4,
)
CONVOLUTIONAL = dict(
    type="seitpp.VQGAN",
    image_size=16,
    arch={
        "channels": 32,
        "multipliers": (1, 1),
        "num_res_blocks": 1,
        "attention_at": (),
        "resolution": 16,
        "z_channels": 6,
        "codebook_size": 30,
        "code_dim": 5,
    },
)
LLAMAGEN = {**CONVOLUTIONAL["arch"], "quantizer": "cosine"}


@pytest.fixture(autouse=True)
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets with small networks."""
    for name, config in (
        ("vitvqgan_base", VIT),
        ("seit_vitvqgan", VIT),
        ("vqgan_f16_1024", CONVOLUTIONAL),
        ("llamagen_vq16", {**CONVOLUTIONAL, "arch": LLAMAGEN}),
    ):
        monkeypatch.setitem(PRESETS, name, Preset(config, PRESETS[name].family))


@pytest.fixture
def passing_probe(monkeypatch: pytest.MonkeyPatch) -> list[VQTokenizer]:
    """A probe that is content with random weights, and what it was called with."""
    calls: list[VQTokenizer] = []

    def probe(tokenizer: VQTokenizer) -> RangeProbe:
        calls.append(tokenizer)
        return RangeProbe((0.0, 1.0), (-1.0, 1.0), 1.0, 2.0, 70.0)

    monkeypatch.setattr("seitpp.converters.tokenizer_files.probe_pixel_range", probe)
    return calls


def random_tokenizer(preset: str, seed: int = 0) -> VQTokenizer:
    torch.manual_seed(seed)
    return PRESETS[preset].build()


def theirs(preset: str, tokenizer: VQTokenizer) -> dict[str, Tensor]:
    return to_published(tokenizer.state_dict(), preset, tokenizer)


class Callback:
    """An object of a training script, as Lightning's checkpoints hold them."""

    def __init__(self) -> None:
        self.best = 3.0


def write(weights: dict[str, Tensor], path: Path, form: str) -> Path:
    content = {
        "plain": weights,
        "lightning": {"state_dict": weights, "callbacks": {Callback: Callback()}, "epoch": 3},
        "model": {"model": weights, "steps": 7},
        "legacy": {"state_dict": weights},
    }
    if form == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file({name: value.contiguous() for name, value in weights.items()}, path)
    else:
        torch.save(content[form], path, _use_new_zipfile_serialization=form != "legacy")
    return path


@pytest.mark.parametrize("form", ["plain", "lightning", "model", "legacy", "safetensors"])
@pytest.mark.parametrize("preset", ["vitvqgan_base", "vqgan_f16_1024"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_every_form_of_file_gives_the_same_tokenizer(
    form: str, preset: str, suffix: str, tmp_path: Path, passing_probe: list
) -> None:
    tokenizer = random_tokenizer(preset)
    source = write(theirs(preset, tokenizer), tmp_path / "last.ckpt", form)
    result = convert_tokenizer(preset, source, tmp_path / "new" / f"ours{suffix}")
    assert result.converted.has_decoder and result.probe.fits and result.subset_file is None
    (probed,) = passing_probe
    assert probed.weights_sha256 == tokenizer.weights_sha256
    again = TOKENIZERS.build({**PRESETS[preset].tokenizer, "checkpoint": tmp_path / "new" / f"ours{suffix}"})
    assert again.weights_sha256 == tokenizer.weights_sha256
    assert os.listdir(tmp_path / "new") == [f"ours{suffix}"]


def test_written_files_hold_tensors_and_text_alone(tmp_path: Path, passing_probe: list) -> None:
    source = write(theirs("vitvqgan_base", random_tokenizer("vitvqgan_base")), tmp_path / "last.ckpt", "lightning")
    meta = {"preset": "vitvqgan_base", "converted_from": "last.ckpt"}
    convert_tokenizer("vitvqgan_base", source, tmp_path / "a.pth")
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert content.keys() == {"meta", "state_dict"} and content["meta"] == meta
    convert_tokenizer("vitvqgan_base", source, tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == meta and set(file.keys()) == content["state_dict"].keys()


class Wrapped(nn.Module):
    """A tokenizer as its authors pickle it whole, with published names."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in weights.items():
            *path, last = name.split(".")
            part = self
            for step in path:
                if step not in part._modules:
                    part.add_module(step, nn.Module())
                part = part._modules[step]
            if "pos_embedding" in last:
                part.register_buffer(last, value)
            else:
                part.register_parameter(last, nn.Parameter(value))
        self.settings = Callback()


@pytest.mark.parametrize("inside", [None, "model", "tokenizer"])
def test_whole_pickled_module_is_converted_without_its_class(
    inside: str | None, tmp_path: Path, passing_probe: list
) -> None:
    tokenizer = random_tokenizer("seit_vitvqgan")
    module = Wrapped(theirs("seit_vitvqgan", tokenizer))
    torch.save(module if inside is None else {inside: module}, tmp_path / "tokenizer.ckpt")
    result = convert_tokenizer("seit_vitvqgan", tmp_path / "tokenizer.ckpt", tmp_path / "a.pth")
    assert sorted(result.converted.dropped) == ["decoder.de_pos_embedding", "encoder.en_pos_embedding"]
    loaded = TOKENIZERS.build({**VIT, "checkpoint": tmp_path / "a.pth"})
    assert loaded.weights_sha256 == tokenizer.weights_sha256


def test_pickled_data_parallel_module_is_converted(tmp_path: Path, passing_probe: list) -> None:
    tokenizer = random_tokenizer("vitvqgan_base")
    torch.save(nn.DataParallel(Wrapped(theirs("vitvqgan_base", tokenizer))), tmp_path / "a.ckpt")
    convert_tokenizer("vitvqgan_base", tmp_path / "a.ckpt", tmp_path / "a.pth")
    assert TOKENIZERS.build({**VIT, "checkpoint": tmp_path / "a.pth"}).weights_sha256 == tokenizer.weights_sha256


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_converted_file_is_not_converted_again(suffix: str, tmp_path: Path, passing_probe: list) -> None:
    ours = tmp_path / f"ours{suffix}"
    source = write(theirs("vitvqgan_base", random_tokenizer("vitvqgan_base")), tmp_path / "a.ckpt", "plain")
    convert_tokenizer("vitvqgan_base", source, ours)
    with pytest.raises(ValueError, match=rf"ours{suffix} is already converted, as vitvqgan_base; .*--to-release"):
        convert_tokenizer("vitvqgan_base", ours, tmp_path / "again.pth")
    assert not (tmp_path / "again.pth").exists()


def test_tokenizer_of_a_whole_latent_diffusion_model_is_taken_by_its_prefix(
    tmp_path: Path, passing_probe: list
) -> None:
    tokenizer = random_tokenizer("vqgan_f16_1024")
    whole = {f"first_stage_model.{name}": value for name, value in theirs("vqgan_f16_1024", tokenizer).items()}
    others = {"model.diffusion_model.out.weight": torch.zeros(2), "cond_stage_model.embedding.weight": torch.ones(2)}
    ours = {"scale_factor": torch.tensor(1.0), "model_ema.decay": torch.tensor(0.9)}
    torch.save({"state_dict": {**others, **whole, **ours}, "callbacks": {Callback: Callback()}}, tmp_path / "ldm.ckpt")
    result = convert_tokenizer("vqgan_f16_1024", tmp_path / "ldm.ckpt", tmp_path / "a.pth")
    assert set(result.converted.dropped) == {*others, *ours}
    loaded = TOKENIZERS.build({**CONVOLUTIONAL, "checkpoint": tmp_path / "a.pth"})
    assert loaded.weights_sha256 == tokenizer.weights_sha256
    assert torch.equal(read_codebook(tmp_path / "ldm.ckpt"), tokenizer.codebook.detach())


class Part(Wrapped):
    """Encoder or pre-quantiser of such a tokenizer."""


@pytest.mark.parametrize("form", ["module", "state dict"])
def test_sequence_of_encoder_and_pre_quantiser_encodes(form: str, tmp_path: Path) -> None:
    tokenizer = random_tokenizer("seit_vitvqgan")
    weights = theirs("seit_vitvqgan", tokenizer)
    parts = [
        Part({name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)})
        for prefix in ("encoder.", "pre_quant.")
    ]
    module = nn.Sequential(*parts)
    torch.save(module if form == "module" else module.state_dict(), tmp_path / "tokenizer.ckpt")
    torch.save(tokenizer.codebook.detach(), tmp_path / "codebook.ckpt")
    with pytest.raises(ValueError, match=r"missing keys: quantizer\.embedding\.weight"):
        convert_tokenizer("seit_vitvqgan", tmp_path / "tokenizer.ckpt", tmp_path / "a.pth")
    result = convert_tokenizer(
        "seit_vitvqgan", tmp_path / "tokenizer.ckpt", tmp_path / "a.pth", tmp_path / "codebook.ckpt"
    )
    assert not result.converted.has_decoder and result.probe is None
    loaded, images = TOKENIZERS.build({**VIT, "checkpoint": tmp_path / "a.pth"}), torch.rand(2, 3, 16, 16)
    assert not loaded.can_decode and torch.equal(loaded.encode(images), tokenizer.encode(images))


def test_numbered_parts_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"unknown keys: .*2\.weight"):
        convert_tokenizer("seit_vitvqgan", tmp_path / "a.ckpt", tmp_path / "a.pth")
    torch.save(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"is not a vqgan_f16_1024 as published .*unknown keys: .*0\.weight"):
        convert_tokenizer("vqgan_f16_1024", tmp_path / "a.ckpt", tmp_path / "a.pth")


def test_average_beside_the_weights_is_named_and_can_be_taken(tmp_path: Path, passing_probe: list) -> None:
    tokenizers = {key: random_tokenizer("llamagen_vq16", seed) for seed, key in enumerate(("model", "ema"))}
    parts = {key: theirs("llamagen_vq16", tokenizer) for key, tokenizer in tokenizers.items()}
    content = {**parts, "optimizer": {"state": {}}, "discriminator": {"x": torch.ones(2)}, "steps": 7}
    torch.save({**content, "args": argparse.Namespace(ema=True)}, tmp_path / "a.pt")
    for key in ("model", "ema"):
        result = convert_tokenizer(
            "llamagen_vq16", tmp_path / "a.pt", tmp_path / "a.pth", key=None if key == "model" else key
        )
        other = "ema" if key == "model" else "model"
        assert result.entry == key and set(result.other_entries) == {other, "discriminator"}
        loaded = TOKENIZERS.build({**CONVOLUTIONAL, "arch": LLAMAGEN, "checkpoint": tmp_path / "a.pth"})
        assert loaded.weights_sha256 == tokenizers[key].weights_sha256
        assert torch.equal(read_codebook(tmp_path / "a.pt", key), tokenizers[key].codebook.detach())
    with pytest.raises(ValueError, match=r"holds no weights under 'average'; it has some under model, ema, discrimin"):
        read_published(tmp_path / "a.pt", "average")


def test_export_of_llamagen_has_what_a_strict_loader_asks_for(tmp_path: Path) -> None:
    torch.save({"state_dict": random_tokenizer("llamagen_vq16").state_dict()}, tmp_path / "ours.pth")
    export_tokenizer("llamagen_vq16", tmp_path / "ours.pth", tmp_path / "back.pt")
    used = torch.load(tmp_path / "back.pt", weights_only=True)["model"]["quantize.codebook_used"]
    assert used.shape == (65536,) and used.dtype == torch.float32 and not used.any()


@pytest.mark.parametrize("link", [None, "symbolic", "hard", "spelling"])
def test_source_is_never_written_over(link: str | None, tmp_path: Path, passing_probe: list) -> None:
    source = write(theirs("vitvqgan_base", random_tokenizer("vitvqgan_base")), tmp_path / "a.ckpt", "plain")
    before, other = source.read_bytes(), tmp_path / "other.ckpt"
    if link == "symbolic":
        other.symlink_to(source)
    elif link == "hard":
        other.hardlink_to(source)
    target = {None: source, "spelling": tmp_path / "x" / ".." / "a.ckpt"}.get(link, other)
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match=r"is what would be read, .*write to another file"):
        convert_tokenizer("vitvqgan_base", source, target)
    with pytest.raises(ValueError, match=r"is what would be read, .*write to another file"):
        export_tokenizer("vitvqgan_base", source, target)
    assert source.read_bytes() == before


def test_codebook_is_never_written_over(tmp_path: Path) -> None:
    source = write(theirs("seit_vitvqgan", random_tokenizer("seit_vitvqgan")), tmp_path / "a.ckpt", "plain")
    for name, target in (("book.pth", "book.pth"), ("b.code_subset.npy", "b.pth")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=r"is what would be read, .*write to another file"):
            convert_tokenizer("seit_vitvqgan", source, tmp_path / target, tmp_path / name)
        assert (tmp_path / name).read_bytes() == b"x"


def test_weights_that_are_not_finite_are_not_exported(tmp_path: Path) -> None:
    weights = dict(random_tokenizer("vitvqgan_base").state_dict())
    weights["encoder.pre_quant.bias"] = torch.full_like(weights["encoder.pre_quant.bias"], torch.nan)
    torch.save({"state_dict": weights}, tmp_path / "ours.pth")
    with pytest.raises(ValueError, match=r"NaN or infinite in encoder\.pre_quant\.bias"):
        export_tokenizer("vitvqgan_base", tmp_path / "ours.pth", tmp_path / "back.pth")


def test_odd_tensors_stop_the_conversion_only_where_needed(tmp_path: Path, passing_probe: list) -> None:
    weights = theirs("vitvqgan_base", random_tokenizer("vitvqgan_base"))
    odd = {"loss.a": torch.zeros(2, dtype=torch.complex64), "loss.b": torch.zeros(1).expand(5)}
    source = write({**weights, **odd}, tmp_path / "a.ckpt", "lightning")
    assert set(odd) <= set(convert_tokenizer("vitvqgan_base", source, tmp_path / "a.pth").converted.dropped)
    source = write({**weights, "pre_quant.bias": torch.zeros(1).expand(6)}, tmp_path / "b.ckpt", "plain")
    with pytest.raises(ValueError, match=r"b\.ckpt: pre_quant\.bias is a tensor that cannot be read: .* expanded"):
        convert_tokenizer("vitvqgan_base", source, tmp_path / "b.pth")


@pytest.mark.parametrize("form", ["converted", "trained", "encode-only"])
def test_export_of_what_a_tokenizer_loads(form: str, tmp_path: Path) -> None:
    tokenizer = random_tokenizer("vitvqgan_base")
    weights = dict(tokenizer.state_dict())
    if form == "trained":
        weights = {f"tokenizer.{name}": value for name, value in weights.items()} | {"loss.x": torch.zeros(1)}
    elif form == "encode-only":
        weights = {name: value for name, value in weights.items() if not name.startswith("decoder.")}
    torch.save({"meta": {"epoch": 3}, "state_dict": weights}, tmp_path / "ours.pth")
    expected = theirs("vitvqgan_base", tokenizer)
    if form == "encode-only":
        expected = {key: value for key, value in expected.items() if not key.startswith(("decoder.", "post_quant."))}
    export_tokenizer("vitvqgan_base", tmp_path / "ours.pth", tmp_path / "back.ckpt")
    found = torch.load(tmp_path / "back.ckpt", weights_only=True)["state_dict"]
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_export_of_llamagen_lies_where_its_loader_looks(suffix: str, tmp_path: Path) -> None:
    torch.save({"state_dict": random_tokenizer("llamagen_vq16").state_dict()}, tmp_path / "ours.pth")
    renamed = export_tokenizer("llamagen_vq16", tmp_path / "ours.pth", tmp_path / f"back{suffix}")
    if suffix == ".pt":
        content = torch.load(tmp_path / "back.pt", weights_only=True)
        assert content.keys() == {"meta", "model"} and content["model"].keys() == renamed.keys()
    assert read_published(tmp_path / f"back{suffix}").keys() == renamed.keys()


def test_export_of_another_preset_is_refused(tmp_path: Path) -> None:
    torch.save({"meta": {"preset": "seit_vitvqgan"}, "state_dict": {"codebook": torch.ones(2, 2)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="was converted as 'seit_vitvqgan'"):
        export_tokenizer("vitvqgan_base", tmp_path / "a.pth", tmp_path / "b.pth")


@pytest.mark.parametrize("form", ["tensor", "npy", "named"])
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.tensor([[1.0, torch.nan]]), "values that are not finite"),
        (torch.zeros(2, 3, dtype=torch.int64), "expected floats"),
        (torch.zeros(6), "expected floats"),
    ],
)
def test_codebooks_that_are_none_are_refused(form: str, rows: Tensor, message: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.npy" if form == "npy" else "a.ckpt")
    if form == "npy":
        np.save(path, rows.numpy())
    else:
        torch.save(rows if form == "tensor" else {"codebook": rows}, path)
    with pytest.raises(ValueError, match=rf"codebook .*{path.name} holds .*{message}"):
        read_codebook(path)


@pytest.mark.parametrize("content", ["tensor", "module"])
def test_codebook_is_read_once(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(4, 3)
    torch.save(rows if content == "tensor" else Wrapped({"quantize.embed.weight": rows}), tmp_path / "a.ckpt")
    read: list[Path] = []
    load = tokenizer_files.load_torch_file
    monkeypatch.setattr(tokenizer_files, "load_torch_file", lambda path, **kw: read.append(path) or load(path, **kw))
    assert torch.equal(read_codebook(tmp_path / "a.ckpt"), rows) and len(read) == 1


def test_codebook_of_a_file_of_its_own_takes_the_place(tmp_path: Path, passing_probe: list) -> None:
    tokenizer = random_tokenizer("seit_vitvqgan")
    weights = theirs("seit_vitvqgan", tokenizer)
    whole = torch.randn(100, 6)
    torch.save({**weights, "quantizer.embedding.weight": whole}, tmp_path / "tokenizer.ckpt")
    torch.save(tokenizer.codebook.detach(), tmp_path / "codebook.ckpt")
    with pytest.raises(ValueError, match=r"K x D = 100 x 6, seit_vitvqgan has 30 x 6; .*--codebook"):
        convert_tokenizer("seit_vitvqgan", tmp_path / "tokenizer.ckpt", tmp_path / "a.pth")
    convert_tokenizer("seit_vitvqgan", tmp_path / "tokenizer.ckpt", tmp_path / "a.pth", tmp_path / "codebook.ckpt")
    assert TOKENIZERS.build({**VIT, "checkpoint": tmp_path / "a.pth"}).weights_sha256 == tokenizer.weights_sha256


def test_list_of_used_codes_becomes_a_file(tmp_path: Path, passing_probe: list) -> None:
    weights = theirs("vqgan_f16_1024", random_tokenizer("vqgan_f16_1024"))
    source = write({**weights, "quantize.used": torch.tensor([3, 1])}, tmp_path / "last.ckpt", "plain")
    result = convert_tokenizer("vqgan_f16_1024", source, tmp_path / "a.pth")
    assert result.subset_file == tmp_path / "a.code_subset.npy"
    options = {"checkpoint": tmp_path / "a.pth", "code_subset": result.subset_file}
    assert TOKENIZERS.build({**CONVOLUTIONAL, **options}).codebook_size == 2


def test_file_without_a_decoder_is_converted_without_the_probe(tmp_path: Path) -> None:
    weights = theirs("vqgan_f16_1024", random_tokenizer("vqgan_f16_1024"))
    kept = {name: value for name, value in weights.items() if not name.startswith(("decoder", "post_quant"))}
    result = convert_tokenizer("vqgan_f16_1024", write(kept, tmp_path / "a.ckpt", "plain"), tmp_path / "a.pth")
    assert result.probe is None and not result.converted.has_decoder
    assert not TOKENIZERS.build({**CONVOLUTIONAL, "checkpoint": tmp_path / "a.pth"}).can_decode


@pytest.mark.parametrize("preset", ["vitvqgan_base", "vqgan_f16_1024"])
def test_weights_that_reconstruct_nothing_are_refused_unless_told_otherwise(preset: str, tmp_path: Path) -> None:
    source = write(theirs(preset, random_tokenizer(preset)), tmp_path / "a.ckpt", "plain")
    with pytest.raises(ValueError, match=rf"a\.ckpt as {preset}: .* no better .*--no-probe converts it"):
        convert_tokenizer(preset, source, tmp_path / "a.pth")
    assert os.listdir(tmp_path) == ["a.ckpt"]
    assert convert_tokenizer(preset, source, tmp_path / "a.pth", probe=False).probe is None


def test_files_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt does not exist"):
        read_published(tmp_path / "none.ckpt")
    torch.save(Callback(), tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt holds a pickled .*Callback, which is no torch module"):
        read_published(tmp_path / "a.ckpt")
    torch.save({"epoch": 3}, tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match=r"b\.ckpt holds entries that are not tensors: epoch"):
        read_published(tmp_path / "b.ckpt")
    (tmp_path / "c.ckpt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"c\.ckpt"):
        read_published(tmp_path / "c.ckpt")


@pytest.mark.parametrize("form", ["tensor", "npy", "ours", "lightning", "safetensors", "gumbel"])
def test_codebook_is_read_from_any_of_them(form: str, tmp_path: Path) -> None:
    tokenizer = random_tokenizer("vqgan_f16_1024")
    weights, rows = theirs("vqgan_f16_1024", tokenizer), tokenizer.codebook.detach()
    path = tmp_path / "a.ckpt"
    if form == "tensor":
        torch.save(rows, path)
    elif form == "npy":
        path = tmp_path / "a.npy"
        np.save(path, rows.numpy())
    elif form == "ours":
        torch.save({"meta": {}, "state_dict": tokenizer.state_dict()}, path)
    elif form == "gumbel":
        torch.save({"quantize.embed.weight": rows.half()}, path)
        rows = rows.half().float()
    else:
        path = write(weights, path, form)
    assert torch.equal(read_codebook(path), rows)


def test_file_without_a_codebook_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth holds no codebook; expected a tensor, or one named codebook, "):
        read_codebook(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match=r"none\.pth does not exist"):
        read_codebook(tmp_path / "none.pth")
