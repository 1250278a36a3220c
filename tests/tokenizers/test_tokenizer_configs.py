"""Every tokenizer config: builds at full size, encodes and decodes when shrunk, and is documented."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from seitpp.converters import PRESETS
from seitpp.registry import TOKENIZERS
from seitpp.tokenizers import Tokenizer, VQTokenizer

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs" / "tokenizers"
LEAVES = sorted(path for path in FOLDER.glob("*.py") if "model" not in Config.fromfile(path))  # which train one

every_leaf = pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)


def options_of(path: Path) -> dict[str, Any]:
    """What the tokenizer is built with, without its file of weights; and what it is fitted with, if it is."""
    options = Config.fromfile(path).tokenizer.to_dict()
    for key in ("fit", "checkpoint", "codebook"):  # the last is a store that another run writes
        options.pop(key, None)
    return options


def shrunken(options: dict[str, Any]) -> Tokenizer:
    """The same tokenizer with small networks and images."""
    small = {"image_size": 64} if options["type"] != "seitpp.ViTVQGAN" else {"image_size": 32, "tile_size": 16}
    if options["type"] == "seitpp.ViTVQGAN":
        stack = {"dims": 16, "depth": 1, "num_heads": 1, "mlp_dims": 16}
        small |= {"arch": {"encoder": stack, "decoder": stack}, "codebook_size": 20}
    if options["type"] == "seitpp.VQGAN":
        from seitpp.tokenizers.vqgan import ARCHS

        full = ARCHS[options["arch"]]
        small["arch"] = {**full, "channels": 32, "num_res_blocks": 1, "codebook_size": 20}
    return TOKENIZERS.build({**options, **small})


def test_every_preset_has_a_config() -> None:
    assert PRESETS.keys() <= {path.stem for path in LEAVES}
    for preset, entry in PRESETS.items():
        config = Config.fromfile(FOLDER / f"{preset}.py")
        assert config.default_scope == "seitpp"
        assert config.tokenizer == {**entry.tokenizer, "checkpoint": f"checkpoints/{preset}.pth"}


def test_every_preset_has_a_row_in_the_documentation() -> None:
    text = (ROOT / "docs" / "tokenizers.md").read_text()
    assert [preset for preset in PRESETS if f"| `{preset}` |" not in text] == []


@every_leaf
def test_docstring_has_the_commands(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    command = f"python tools/tokenize_images.py configs/tokenizers/{path.name} "
    assert f"{command}SOURCE OUT_STORE" in text or f"{command}data/" in text  # one of any images, or of a named set
    if path.stem in PRESETS:
        assert f"python tools/convert_checkpoint.py {path.stem} " in text and "Licence" in text


@every_leaf
def test_full_size_builds(path: Path) -> None:
    with torch.device("meta"):
        tokenizer = TOKENIZERS.build(options_of(path))
    assert all(side % tokenizer.stride == 0 for side in tokenizer.image_size)
    if isinstance(tokenizer, VQTokenizer) and not Config.fromfile(path).get("_base_"):
        # A network of other sizes than a published one is trained here.
        assert tokenizer.preset in PRESETS or isinstance(tokenizer.arch, dict)


@every_leaf
def test_shrunken_encodes_and_decodes(path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = shrunken(options_of(path)).eval()
    low, high = tokenizer.pixel_range
    images = torch.rand(2, tokenizer.in_channels, *tokenizer.image_size) * (high - low) + low
    if hasattr(tokenizer, "fit"):
        tokenizer.fit(images, 5)
    codes = tokenizer.encode(images)
    assert codes.shape == (2, *tokenizer.sample_shape) and codes.dtype == torch.int64
    assert codes.min() >= tokenizer.minimum and codes.max() < tokenizer.minimum + tokenizer.codebook_size
    assert tokenizer.decode(codes).shape == images.shape
    assert tokenizer.describe()["type"] == options_of(path)["type"].removeprefix("seitpp.")
