"""Counted multiply-adds against counts by hand, and against mmengine's, which leaves attention out."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config

from helpers.classifier import make_trained_classifier
from helpers.shrinking import build_model
from helpers.tools import tool_main
from seitpp.benchmarking.complexity import complexities
from seitpp.io.config_file import read_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
VIT_B = CONFIGS / "seit" / "seit_vit-base-p16_8xb128-300e_in1k-tokens.py"
WITHOUT_NETWORKS = ("block_dct", "patch_kmeans", "dct_", "kmeans_")
LEAVES = [
    path
    for path in sorted(CONFIGS.glob("[!_]*/*.py"))
    if not path.stem.startswith(WITHOUT_NETWORKS) and "pixels" not in path.stem  # which take no tokens
]
DIGITS = CONFIGS / "seit" / "seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"
MTM = CONFIGS / "mtm" / "mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py"


def blocks(count: int, width: int, tokens: int, mlp_ratio: int = 4) -> int:
    """Multiply-adds of blocks: queries, keys, values, output and MLP; scores and weighted sums of values."""
    return count * ((4 + 2 * mlp_ratio) * width**2 * tokens + 2 * width * tokens**2)


def test_vit_b_on_tokens_is_counted_as_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    line = [VIT_B, "--depth", 1, "--out", tmp_path / "flops.json"]
    assert tool_main("analysis_tools/get_flops.py")(line) == 0
    printed = capsys.readouterr().out
    assert "86.37 M" in printed and "17.53 G" in printed
    (found,) = json.loads((tmp_path / "flops.json").read_text())["parts"]
    encoder = blocks(12, 768, 197) + 196 * 768 * 32 * 4 * 4  # and the stem
    assert found["multiply_adds"] == encoder + 768 * 1000
    assert found["input"] == "28 x 28 embeddings of 32"
    assert found["parts"] == {"backbone": encoder, "head": 768 * 1000}


def test_batches_multiply_and_shapes_follow() -> None:
    (one,) = complexities(read_config(DIGITS))
    (four,) = complexities(read_config(DIGITS), batch_size=4)
    assert four.multiply_adds == 4 * one.multiply_adds
    (wide,) = complexities(read_config(DIGITS), shape=(5, 8))
    assert wide.multiply_adds == blocks(3, 64, 41) + 40 * 64 * 4 * 3 * 3 + 64 * 10


def test_pretraining_sees_the_patches_that_are_kept() -> None:
    encoder, decoder, head, features = complexities(read_config(MTM))
    stem = 16 * 64 * 32
    assert encoder.multiply_adds == blocks(3, 64, 10) + stem and features.multiply_adds == blocks(3, 64, 17) + stem
    assert encoder.input == "4 x 4 codes, 9 of 16 patches" and features.parameters is None
    assert decoder.multiply_adds == blocks(2, 64, 17) + 10 * 64 * 64
    assert head.multiply_adds == 10 * (64 * 32 + 32 * 64)


def test_tokenizers_are_counted_as_by_hand() -> None:
    path = CONFIGS / "tokenizers" / "vitvqgan_tiny-p4-k256_photos-32px.py"
    encoder, nearest, decoder = complexities(read_config(path))
    ends = 64 * 96 * 48 + 64 * 96 * 16
    assert encoder.multiply_adds == decoder.multiply_adds == blocks(2, 96, 64, mlp_ratio=2) + ends
    assert nearest.multiply_adds == 64 * 256 * 16
    (large, *_) = complexities(read_config(path), shape=(64, 64))
    assert large.input == "64 x 64 pixels" and large.multiply_adds > 4 * encoder.multiply_adds


def test_tokenadapt_and_segmentors_are_counted_by_part() -> None:
    path = CONFIGS / "tokenadapt" / "tokenadapt_d384_1xb128-1e_in1k-256px.py"
    conversion, reversal = complexities(read_config(path))
    block = blocks(1, 384, 32 * 32)
    assert block < conversion.multiply_adds < 1.07 * block
    assert reversal.input == "56 x 56 positions of 32"
    path = CONFIGS / "segmentation" / "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"
    encoder, neck, head = complexities(read_config(path))
    assert encoder.multiply_adds == blocks(4, 64, 257) + 256 * 64 * 32
    assert min(neck.multiply_adds, head.multiply_adds) > 0


def test_counts_are_mmengines_and_attention(tmp_path: Path) -> None:
    config = Config.fromfile(make_trained_classifier(tmp_path, num_images=1).config)
    (found,) = complexities(config)
    model = build_model(config).eval()
    counter = FlopAnalyzer(model, (torch.zeros(1, 4, 4, dtype=torch.int64),)).unsupported_ops_warnings(False)
    known = counter.uncalled_modules_warnings(False).by_operator()
    attention = 2 * 2 * 16 * 5**2  # two blocks of width 16, on four patches and the class token
    assert found.multiply_adds == known["linear"] + known["conv"] + attention


def test_what_has_no_networks_on_tokens_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tool = tool_main("analysis_tools/get_flops.py")
    assert tool([CONFIGS / "tokenizers" / "block_dct_q50.py"]) == 1
    assert "seitpp.BlockDCT has no networks to count" in capsys.readouterr().err
    (tmp_path / "pixels.py").write_text(
        "model = dict(type='mmpretrain.ImageClassifier', backbone=dict(type='mmpretrain.ResNet', depth=18),"
        " head=dict(type='mmpretrain.LinearClsHead', num_classes=2, in_channels=512))"
    )
    assert tool([tmp_path / "pixels.py"]) == 1
    assert "the backbone mmpretrain.ResNet takes no tokens" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
def test_every_config_with_networks_is_counted(path: Path) -> None:
    assert all(one.multiply_adds > 0 for one in complexities(read_config(path)))
