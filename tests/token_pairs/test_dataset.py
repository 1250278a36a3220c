"""`TokenPairDataset`: batches of groups, and that training from them is training on the images that made them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from seitpp.datasets import identity_collate
from seitpp.io.checkpoint import load_checkpoint_file
from seitpp.models import TokenAdaptPretrain
from seitpp.registry import MODELS
from seitpp.structures.draws import tensors_of
from seitpp.token_pairs import TokenPairDataPreprocessor, TokenPairDataset
from seitpp.token_pairs.format import TokenPairWriter

K, GROUP, GROUPS = 300, 3, 4  # more codes than a byte holds


@pytest.fixture
def model() -> TokenAdaptPretrain:
    codebook = torch.rand(K, 4, generator=torch.Generator().manual_seed(0))
    network = dict(codebook_size=K, code_dim=4, grid=4, out_grid=3, dims=16, num_heads=2, head_dims=8, mlp_dims=32)
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type="seitpp.TokenAdaptPretrain",
            token_adapt=dict(type="seitpp.TokenAdapt", **network),
            tokenizer=dict(type="seitpp.PatchKMeans", image_size=8, patch_size=2, in_channels=1, codebook=codebook),
            augments=[
                dict(type="seitpp.BatchRandomFlip"),
                dict(type="seitpp.BatchRandomResizedCrop", size=6),
                dict(type="seitpp.BatchMixup", partner="random"),
            ],
        )
    )


@pytest.fixture
def groups(model: TokenAdaptPretrain) -> list[tuple]:
    """Images of each group, their pairs and draws."""
    torch.manual_seed(1)
    made = []
    for _ in range(GROUPS):
        images, draws = torch.rand(GROUP, 1, 8, 8), model.draw(GROUP, "cpu")
        made.append((images, *model.pairs(images, draws), draws))
    return made


@pytest.fixture
def folder(model: TokenAdaptPretrain, groups: list[tuple], tmp_path: Path) -> Path:
    sizes = {"num_pairs": GROUP * GROUPS, "group_size": GROUP, "groups_per_part": 2}
    writer = TokenPairWriter(tmp_path / "pairs", {**sizes, **model.pair_metadata()})
    for number in range(GROUPS // 2):
        _, sources, targets, draws = zip(*groups[2 * number : 2 * number + 2], strict=True)
        arrays = [
            {name: torch.cat([tensors_of(one)[name] for one in parts]).numpy() for name in tensors_of(parts[0])}
            for parts in zip(*draws, strict=True)
        ]
        tokens = [torch.cat(values).numpy().astype("uint16") for values in (sources, targets)]
        writer.write_part(number, *tokens, arrays)
    return tmp_path / "pairs"


def test_an_item_is_a_group(folder: Path, groups: list[tuple]) -> None:
    dataset = TokenPairDataset(str(folder))
    assert len(dataset) == GROUPS
    batch = dataset[2]
    assert torch.equal(batch["inputs"].long(), groups[2][1])
    assert torch.equal(batch["targets"], groups[2][2])
    assert batch["targets"].dtype == torch.int64
    assert torch.equal(batch["draws"][2]["partner"], groups[2][3][2].partner)


def test_partners_of_several_groups_are_counted_within_the_batch(folder: Path, groups: list[tuple]) -> None:
    batch = TokenPairDataset(str(folder)).__getitems__([3, 0, 3])
    own = [groups[group][3][2].partner for group in (3, 0, 3)]
    assert torch.equal(batch["draws"][2]["partner"], torch.cat([own[0], own[1] + GROUP, own[2] + 2 * GROUP]))


def test_loss_of_a_batch_is_that_of_the_same_pairs_made_on_the_fly(
    model: TokenAdaptPretrain, folder: Path, groups: list[tuple]
) -> None:
    loader = DataLoader(
        TokenPairDataset("pairs", str(folder.parent)), batch_size=2, collate_fn=identity_collate, shuffle=False
    )
    batches = list(loader)
    assert len(batches) == GROUPS // 2
    for number, batch in enumerate(batches):
        losses = []
        for images, _, _, draws in groups[2 * number : 2 * number + 2]:
            tokens, targets = model.pairs(images, draws)
            losses.append(model.pair_loss(tokens, targets, draws)["loss"])
        assert model(**batch, mode="loss")["loss"].item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_one_group_gives_exactly_the_loss_on_the_fly(
    model: TokenAdaptPretrain, folder: Path, groups: list[tuple]
) -> None:
    _, tokens, targets, draws = groups[1]
    assert (
        model(**TokenPairDataset(str(folder))[1], mode="loss")["loss"]
        == (model.pair_loss(tokens, targets, draws)["loss"])
    )


def test_it_tells_what_made_the_pairs(model: TokenAdaptPretrain, folder: Path) -> None:
    dataset = TokenPairDataset("pairs", str(folder.parent))
    assert dataset.metainfo == {**model.pair_metadata(), "num_pairs": GROUP * GROUPS}
    assert dataset.store_path == str(folder)


@pytest.fixture(scope="module")
def pairs_leaf(repository: Path) -> Path:
    return repository / "configs" / "tokenadapt" / "tokenadapt_d384_1xb128-1e_in1k-token-pairs.py"


@pytest.mark.slow
def test_a_run_from_pairs_resumes_bit_for_bit(
    tiny: Callable, tool: Callable, pairs_leaf: Path, tmp_path: Path, assert_same_training: Callable
) -> None:
    config = tiny(pairs_leaf, epochs=2)
    tool("train.py", config, "--work-dir", tmp_path / "whole")
    line = ["--work-dir", tmp_path / "resumed", "--resume", tmp_path / "whole" / "epoch_1.pth"]
    tool("train.py", config, *line)
    assert_same_training(tmp_path / "whole" / "epoch_2.pth", tmp_path / "resumed" / "epoch_2.pth")


def test_what_pairs_trained_is_scored_on_images(
    tiny: Callable, tool: Callable, pairs_leaf: Path, tmp_path: Path
) -> None:
    config = tiny(pairs_leaf, epochs=1)
    tool("train.py", config)
    checkpoint = tmp_path / "work_dir" / "epoch_1.pth"
    assert set(load_checkpoint_file(checkpoint)["state_dict"]) > {"codebook"}
    assert tool("test.py", config, checkpoint, "--out", tmp_path / "score.json") == 0
    score = json.loads((tmp_path / "score.json").read_text())
    assert {f"token_adapt/{name}_accuracy" for name in ("flip", "affine", "rrc", "mixup")} <= score.keys()


def test_bytes_of_an_image_data_set_are_scaled_like_any_others() -> None:
    pixels = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    preprocessor = TokenPairDataPreprocessor(mean=[0], std=[255])
    batch = preprocessor({"images": pixels, "sample_idx": torch.tensor([5, 3])}, training=True)
    assert torch.equal(batch["inputs"], pixels.float() / 255)
    assert [sample.sample_idx for sample in batch["data_samples"]] == [5, 3]
