"""Recipes on stores of one's own by the tools: what is printed, and the way from a store to a fine-tuned classifier."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seitpp.benchmarking.synthetic import make_store
from seitpp.io.config_file import read_config
from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans

SEIT = "seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py"
FINETUNE = "seitpp/seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens.py"
MTM, KNN = "mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py", "representations/knn_mtm_vit-tiny-p2_digits-tokens.py"
TOKEN_ADAPT = "tokenadapt/tokenadapt_d64_1xb64-40e_digits-8px.py"
PAIRS = "tokenadapt/tokenadapt_d384_1xb128-1e_in1k-{}.py"


def test_printed_config_reads_the_stores(
    tool: Callable, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "val"):
        make_store(tmp_path / "mine" / name, num_samples=2, grid=(12, 8), code_dim=5)
    saved = tmp_path / "saved.py"
    options = ("--store", tmp_path / "mine", "--fraction", 0.5, "--save-path", saved)
    tool("print_config.py", repository / "configs" / SEIT, *options)
    printed = capsys.readouterr().out
    assert (
        f"# Sizes are those of {tmp_path}/mine/train: 12 x 8 codes, K = 391, of which the network sees 10 x 7."
        in printed
    )
    (tmp_path / "printed.py").write_text(printed)
    for config in (read_config(saved), read_config(tmp_path / "printed.py")):
        assert config.train_dataloader.dataset.store == f"{tmp_path}/mine/train"
        assert config.train_dataloader.dataset.subset.fraction == 0.5
        assert config.model.backbone.grid_size == (10, 7)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Images and the stores that were made of them: 12 x 8 codes of 20."""
    rng, folder = np.random.default_rng(0), tmp_path / "mine"
    tokenizer = PatchKMeans(image_size=(24, 16), patch_size=2, codebook=torch.rand(20, 12))
    options = dict(codebook_size=20, grid=(12, 8), codebook=tokenizer.codebook.numpy(), tokenizer=tokenizer.describe())
    for name, count in (("train", 12), ("val", 6)):
        pixels = rng.integers(256, size=(count, 24, 16, 3), dtype=np.uint8)
        (folder / "images" / name).mkdir(parents=True)
        for number, image in enumerate(pixels):
            Image.fromarray(image).resize((40, 50)).save(folder / "images" / name / f"{number}.png")
        codes = tokenizer.encode(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255)
        with StoreWriter(folder / name, label_kind="class", classes=["a", "b", "c"], **options) as writer:
            writer.append(codes.numpy(), np.arange(count) % 3)
    return folder


@pytest.mark.slow
def test_way_from_a_store_to_a_classifier(tool: Callable, repository: Path, tmp_path: Path, mine: Path) -> None:
    short = ["train_cfg.max_epochs=1", "train_cfg.val_interval=1", "default_hooks.checkpoint.interval=1"]
    short += ["train_dataloader.batch_size=6", "param_scheduler.warmup=0"]
    images = [f"{name}_dataloader.dataset.data_root={mine / 'images'}" for name in ("train", "val", "test")]
    adapt, mtm = tmp_path / "adapt" / "epoch_1.pth", tmp_path / "mtm" / "epoch_1.pth"
    run = lambda leaf, name, *args: tool(  # noqa: E731
        "train.py", repository / "configs" / leaf, "--store", mine, "--work-dir", tmp_path / name, *args
    )
    run(TOKEN_ADAPT, "adapt", "--cfg-options", *short, *images)
    run(MTM, "mtm", "--token-adapt", adapt, "--cfg-options", *short)
    start = f"model.backbone.init_cfg.checkpoint={mtm}"
    run(FINETUNE, "tuned", "--token-adapt", adapt, "--cfg-options", *short, start)
    scores = tmp_path / "scores.json"
    for leaf, checkpoint in ((FINETUNE, tmp_path / "tuned" / "epoch_1.pth"), (KNN, mtm)):
        tool("test.py", repository / "configs" / leaf, checkpoint, "--store", mine, "--out", scores)
        assert any(key.endswith("accuracy/top1") for key in json.loads(scores.read_text()))


@pytest.mark.slow
def test_pairs_of_a_stores_tokenizer(tool: Callable, repository: Path, tmp_path: Path, mine: Path) -> None:
    alone = [f"{name}.num_workers=0" for name in ("train_dataloader", "val_dataloader")]
    alone += [f"{name}.persistent_workers=False" for name in ("train_dataloader", "val_dataloader")]
    images = [f"{name}.dataset.data_root={mine / 'images'}" for name in ("train_dataloader", "val_dataloader")]
    config = repository / "configs" / PAIRS.format("256px")
    options = ("--group-size", 4, "--cfg-options", *alone, images[0], "train_dataloader.batch_size=4")
    tool("make_token_pairs.py", config, tmp_path / "pairs", "--store", mine, *options)
    small = ["model.token_adapt.dims=32", "model.token_adapt.mlp_dims=32", "train_dataloader.batch_size=2"]
    pairs = f"train_dataloader.dataset.store={tmp_path / 'pairs'}"
    line = ("--work-dir", tmp_path / "run", "--cfg-options", *alone[1::2], *small, pairs, images[1])
    tool("train.py", repository / "configs" / PAIRS.format("token-pairs"), "--store", mine, *line)
    assert (tmp_path / "run" / "epoch_1.pth").exists()
