"""What docs/data.md says of SeiT's published files, run as it stands there, on synthetic ones."""

import re
import runpy
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from seitpp.benchmarking.synthetic import make_codebook, make_release, make_tokens
from seitpp.engine.launch import load_config
from seitpp.registry import DATASETS, MODELS

SYNSETS = [f"n{number:08d}" for number in range(4)]


def documented_lines(page: Path, heading: str, tool: str) -> list[list[str]]:
    """Every `python tools/TOOL ...` below a heading, as the shell takes it apart, loops and comments included."""
    section = page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```shell\n(.*?)```", section, re.DOTALL)
    script = "python() { printf '%q ' \"$@\"; echo; }\n" + "\n".join(block for block in blocks if tool in block)
    found = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout.splitlines()
    return [line[1:] for line in map(shlex.split, found) if line[0] == f"tools/{tool}"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A working folder with small release files under their published names, imported by the documented lines."""
    folder = tmp_path_factory.mktemp("release")
    data = folder / "data" / "imagenet1k-tokens"
    for seed, split in enumerate(("train", "val")):
        make_release(data / f"imagenet1k-{split}", num_samples=8, num_classes=4, seed=seed)
    (data / "synsets.txt").write_text("\n".join(SYNSETS) + "\n")
    page = repository / "docs" / "data.md"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        imports = documented_lines(page, "ImageNet-1k from the SeiT release", "convert_store.py")
        synonyms = [line for line in documented_lines(page, "Data sets", "build_synonyms.py") if "1k-" in line[0]]
        assert (len(imports), len(synonyms)) == (2, 1)
        for tool, lines in (("convert_store.py", imports), ("build_synonyms.py", synonyms)):
            main = runpy.run_path(str(repository / "tools" / tool))["main"]
            assert not any(main(line) for line in lines)
    return folder


@pytest.fixture
def recipe(folder: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Config]:
    """Reads a recipe, in the folder with the data."""
    monkeypatch.chdir(folder)
    return lambda name: Config.fromfile(next((repository / "configs").rglob(name)))


def test_imported_stores_are_what_recipes_read(recipe: Callable) -> None:
    cfg = recipe("seit_vit-base-p16_8xb128-300e_in1k-tokens.py")
    for seed, loader in enumerate((cfg.train_dataloader, cfg.val_dataloader)):
        dataset = DATASETS.build(loader.dataset)
        tokens, labels = make_tokens(8, (32, 32), 391, 4, seed)
        batch = dataset.__getitems__(range(8))
        np.testing.assert_array_equal(batch["inputs"], tokens)
        np.testing.assert_array_equal(batch["gt_label"], labels)
        assert dataset.metainfo["classes"] == SYNSETS
    preprocessor = MODELS.build(cfg.data_preprocessor)
    torch.testing.assert_close(preprocessor.codebook, torch.from_numpy(make_codebook()), rtol=0, atol=0)
    assert preprocessor.codebook_sha256 == dataset.metainfo["codebook_sha256"]
    preprocessor.prepare_training(dataset.metainfo, dataset.store_path)  # reads the synonyms
    assert preprocessor(batch, training=True)["inputs"].shape == (8, 32, 28, 28)


def test_release_files_are_read_for_a_quick_look(recipe: Callable, repository: Path) -> None:
    page = repository / "docs" / "data.md"
    (line,) = documented_lines(page, "ImageNet-1k from the SeiT release", "train.py")
    parse_args = runpy.run_path(str(repository / "tools" / "train.py"))["parse_args"]
    cfg = load_config(parse_args([str(repository / line[0]), *line[1:]]))
    stored = recipe("mtm_vitb.py")
    for name in ("train_dataloader", "val_dataloader"):
        assert cfg[name].dataset.store.endswith(".data.bin.gz")
        found, expected = (DATASETS.build(one[name].dataset).__getitems__(range(8)) for one in (cfg, stored))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
    codebooks = [MODELS.build({**one.data_preprocessor, "augments": []}).codebook_sha256 for one in (cfg, stored)]
    assert codebooks[0] == codebooks[1]
