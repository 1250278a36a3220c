"""The config in a checkpoint is read as it was written, and nothing that its text says is done."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file

from seitpp.io.checkpoint import load_checkpoint_file, load_checkpoint_meta
from seitpp.io.checkpoint_config import config_of_checkpoint, parse_config

RECIPES = (
    "segmentation/upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py",
    "tokenadapt/tokenadapt_d384_1xb128-1e_in1k-dct-256px.py",
    "representations/knn_mtm_vit-tiny-p2_digits-tokens.py",
)


@pytest.mark.parametrize("name", RECIPES)
def test_config_comes_back_as_it_was(repository: Path, tmp_path: Path, name: str) -> None:
    config = Config.fromfile(repository / "configs" / name)
    torch.save({"meta": {"cfg": config.pretty_text}, "state_dict": {"a": torch.ones(2)}}, tmp_path / "one.pth")
    found = config_of_checkpoint(tmp_path / "one.pth")
    assert found._cfg_dict.to_dict() == config._cfg_dict.to_dict()
    assert config_of_checkpoint(load_checkpoint_file(tmp_path / "one.pth")).model == config.model


def test_config_of_a_release_in_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors", metadata={"cfg": "a = dict(b=[1, -2.5, (None, )])\n"})
    assert config_of_checkpoint(tmp_path / "one.safetensors").a.b == [1, -2.5, (None,)]


def test_no_weights_are_read_for_it(tmp_path: Path) -> None:
    path = tmp_path / "one.pth"
    torch.save({"meta": {"cfg": "a = 1\n"}, "state_dict": {"w": torch.full((4096,), 3.0)}}, path)
    content = bytearray(path.read_bytes())
    at = content.index(torch.full((64,), 3.0).numpy().tobytes())
    content[at : at + 64] = bytes(64)  # which the weights' checksum would tell
    path.write_bytes(content)
    assert load_checkpoint_meta(path) == {"cfg": "a = 1\n"}
    with pytest.raises(ValueError, match="cannot be read"):
        load_checkpoint_file(path)


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"meta": {}}, {"w": torch.ones(1)}, [torch.ones(1)]])
def test_checkpoint_without_a_config(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "one.pth")
    assert config_of_checkpoint(tmp_path / "one.pth") is None


def test_every_kind_of_value() -> None:
    text = (
        "a = dict({'x-y': dict(c=3), 2: ('s' 't', )})\nb = -inf\nc = nan\nd = (1)\ne = [\n    dict(), {}, ()\n]\n"
        "f = mmengine.hooks.EMAHook\ng = 1e-05\nh = True  # a remark\n"
    )
    found = parse_config(text, "the config")
    assert math.isnan(found.pop("c"))
    assert found == {
        "a": {"x-y": {"c": 3}, 2: ("st",)},
        **dict(b=-math.inf, d=1, e=[{}, {}, ()], f="mmengine.hooks.EMAHook", g=1e-5, h=True),
    }


@pytest.mark.parametrize(
    "text",
    [
        "import os",
        "a = open('MARK', 'w')",
        "a = dict(b=__import__('os').system('touch MARK'))",
        "a = [x for x in open('MARK', 'w')]",
        'a = f\'{open("MARK", "w")}\'',
        "a = lambda: 1",
        "a = (b := 1)",
        "a = dict(**b)",
        "a = [*b]",
        "a = 1 + 1",
        "a = --1",
        "a = b''",
        "a = 1j",
        "a = dict(b=1, b=2)",
        "a = 1; b = 2",
        "a.b = 1",
        "a = b[0]",
        "a = 0x" + "f" * 99,
        "a = " + "9" * 5000,
        "a = " + "[" * 100 + "]" * 100,
        "a = " + "[" * 5_000,
        "a = " + "-" * 5_000 + "1",
        "a = " + "1 + " * 5_000 + "1",
        "a = x" + "()" * 5_000,
        "a = '''",
        "if True:\n    a = 1",
        "a = 1\n  b = 2",
        "a = \0",
        "a = (,)",
        "a =",
        "pretty_text = 1",
    ],
)
def test_text_that_is_more_than_values_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="the config is damaged or is not text as mmengine writes a config"):
        parse_config(text, "the config")
    assert not list(tmp_path.iterdir())


def test_bases_and_imports_that_it_names_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("raise SystemExit\n")
    text = (
        f"_base_ = {str(tmp_path / 'base.py')!r}\ncustom_imports = dict(imports=['antigravity'])\na = '{{{{$HOME:}}}}'"
    )
    found = config_of_checkpoint({"meta": {"cfg": text}})
    assert found._base_ == str(tmp_path / "base.py") and found.a == "{{$HOME:}}"


@pytest.mark.parametrize(
    ("value", "message"), [(3, "the config in a checkpoint is 3, expected text"), ("#" * 600_000, "has 600,000 charac")]
)
def test_what_is_no_config(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of_checkpoint({"meta": {"cfg": value}})


def test_meta_that_is_no_dict() -> None:
    with pytest.raises(ValueError, match=r"meta is \[1\], expected dict"):
        config_of_checkpoint({"meta": [1]})
