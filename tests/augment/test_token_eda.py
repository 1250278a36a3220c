"""Token-EDA: synonyms and swapped blocks of a whole batch, against the reference and by its properties."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.golden import load_golden
from seitpp.augment import TokenEDA
from seitpp.augment.token_eda import replace_synonyms, sample_swaps, swap_blocks
from seitpp.benchmarking.synthetic import make_codebook, make_tokens
from seitpp.registry import TRANSFORMS
from seitpp.storage import StoreWriter

K, B, H, W = 30, 64, 16, 12
SYNONYMS = {code: [(code + 1) % K, (code + 2) % K, (code + 3) % K] for code in range(K)}


def toy_batch(batch_size: int = B, dtype: torch.dtype = torch.int64, **more: object) -> dict:
    codes = torch.randint(0, K, (batch_size, H, W), generator=torch.Generator().manual_seed(0))
    return {"inputs": codes.to(dtype), "codebook": torch.zeros(K, 4), "sample_idx": torch.arange(batch_size), **more}


def run(transform: TokenEDA, batch: dict, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return transform(dict(batch))["inputs"]


@pytest.fixture(scope="module")
def golden() -> dict:
    return load_golden("token_eda.npz")


@pytest.fixture(scope="module")
def golden_batch(golden: dict) -> dict:
    """The reference's grid, as a batch of many."""
    codes = torch.from_numpy(golden["in/codes"])
    return {"inputs": codes.expand(8, *codes.shape), "codebook": torch.zeros(len(golden["in/synonyms"]), 1)}


@pytest.fixture(scope="module")
def golden_synonyms(golden: dict) -> dict[int, list[int]]:
    return dict(enumerate(golden["in/synonyms"].tolist()))


@pytest.mark.parity
def test_swaps_match_the_reference(golden: dict) -> None:
    params = torch.from_numpy(golden["in/swap_params"])
    codes = torch.from_numpy(golden["in/codes"]).expand(len(params), -1, -1)
    found = swap_blocks(codes, params[:, 0], params[:, 1:3], params[:, 3:5])
    assert torch.equal(found, torch.from_numpy(golden["out/swap"]))


@pytest.mark.parity
def test_certain_replacement_by_the_best_synonym_matches_the_reference(
    golden: dict, golden_batch: dict, golden_synonyms: dict
) -> None:
    eda = TokenEDA(golden_synonyms, synonym_prob=1, token_prob=1, num_synonyms=1, swap_prob=0)
    assert torch.equal(run(eda, golden_batch)[3], torch.from_numpy(golden["out/replace_p1_top1"]))


@pytest.mark.parity
def test_replacement_that_never_happens_matches_the_reference(
    golden: dict, golden_batch: dict, golden_synonyms: dict
) -> None:
    eda = TokenEDA(golden_synonyms, synonym_prob=1, token_prob=0, swap_prob=0)
    assert torch.equal(run(eda, golden_batch)[3], torch.from_numpy(golden["out/replace_p0"]))


@pytest.mark.parity
def test_replacement_is_distributed_as_the_reference(golden: dict, golden_batch: dict, golden_synonyms: dict) -> None:
    options = golden["meta"]["replace_seeded"]
    eda = TokenEDA(golden_synonyms, 1, options["prob"], options["thres"], swap_prob=0)
    before, after = golden_batch["inputs"], run(eda, golden_batch)
    best = torch.from_numpy(golden["in/synonyms"])[before][..., : options["thres"]]
    changed = before != after
    assert (best == after[..., None]).any(dim=-1)[changed].all()
    found, recorded = changed.float().mean().item(), options["fraction_changed"]
    assert abs(found - recorded) < 4 * (recorded * (1 - recorded) / changed[0].numel()) ** 0.5
    ranks = (best == after[..., None]).int().argmax(dim=-1)[changed]  # all ranks alike
    share = 1 / options["thres"]
    assert (ranks.bincount() / len(ranks) - share).abs().max() < 4 * (share * (1 - share) / len(ranks)) ** 0.5


@pytest.mark.parity
def test_sampled_swaps_keep_to_the_reference_s_limits(golden: dict) -> None:
    stats = golden["meta"]["swap_sampler_stats"]
    grid = golden["in/codes"].shape
    size, first, second = sample_swaps(stats["n"], grid, prob=1.0, generator=torch.Generator().manual_seed(0))
    ends = torch.stack([first, second]) + size[:, None]
    assert size.max() == stats["max_ps"] and ends.max() == stats["max_last"]
    empty = (size == 0).sum().item()
    assert abs(empty - stats["ps0"]) < 4 * (stats["ps0"] + 1) ** 0.5
    overlapping = (((first - second).abs() < size[:, None]).all(dim=1)).sum().item()
    assert abs(overlapping - stats["overlapping"]) < 4 * (2 * stats["overlapping"] + 2) ** 0.5


def slowly_swapped(codes: Tensor, size: int, first: list[int], second: list[int]) -> Tensor:
    """What the swap is: copies of blocks, one after the other."""
    result = codes.clone()
    for (y, x), (v, u) in ((first, second), (second, first)):
        result[y : y + size, x : x + size] = codes[v : v + size, u : u + size]
    return result


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.int64])
def test_each_sample_swaps_its_own_blocks(dtype: torch.dtype) -> None:
    codes = toy_batch()["inputs"]
    size, first, second = sample_swaps(B, (H, W), 1.0, 0.5, torch.Generator().manual_seed(1))
    expected = [slowly_swapped(*one) for one in zip(codes, size.tolist(), first.tolist(), second.tolist(), strict=True)]
    found = swap_blocks(codes.to(dtype), size, first, second)
    assert found.dtype == dtype and torch.equal(found.long(), torch.stack(expected))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32])
def test_every_integer_type_gives_the_same(dtype: torch.dtype) -> None:
    eda = TokenEDA(SYNONYMS, synonym_prob=0.5, swap_prob=0.5)
    found = run(eda, toy_batch(dtype=dtype))
    assert found.dtype == dtype and torch.equal(found.long(), run(eda, toy_batch()))


def test_corners_are_further_apart_than_the_side() -> None:
    size, first, second = sample_swaps(2000, (H, W), 1.0, generator=torch.Generator().manual_seed(0))
    distance = (first - second).float().norm(dim=1)
    assert (distance > size)[size > 0].all() and size.min() == 0 and size.max() == 2


def test_blocks_that_cannot_be_apart_are_not_swapped() -> None:
    size, _, _ = sample_swaps(200, (2, 2), 1.0, max_size=1.0, generator=torch.Generator().manual_seed(0))
    assert size.eq(0).all()


def test_share_of_samples_that_swap() -> None:
    size, _, _ = sample_swaps(4000, (32, 32), 0.25, generator=torch.Generator().manual_seed(0))
    expected = 0.25 * 7 / 8  # of the sides 0 to 7, 0 swaps nothing
    assert abs(size.gt(0).float().mean().item() - expected) < 0.03


def test_swap_keeps_the_codes_of_blocks_that_do_not_overlap() -> None:
    batch = toy_batch()
    after = swap_blocks(batch["inputs"], torch.full((B,), 3), torch.tensor([[0, 0]] * B), torch.tensor([[8, 8]] * B))
    assert torch.equal(after.flatten(1).sort().values, batch["inputs"].flatten(1).sort().values)
    assert not torch.equal(after, batch["inputs"])


def test_label_maps_follow_the_swapped_blocks() -> None:
    painted = torch.arange(H * W).view(1, H, W).expand(B, H, W)
    batch = toy_batch(gt_sem_seg=painted.repeat_interleave(4, 1).repeat_interleave(2, 2))
    batch["inputs"] = painted
    torch.manual_seed(0)
    after = TokenEDA(synonym_prob=0, swap_prob=1)(batch)
    assert not torch.equal(after["inputs"], painted)
    assert torch.equal(after["gt_sem_seg"], after["inputs"].repeat_interleave(4, 1).repeat_interleave(2, 2))


def test_label_map_that_does_not_divide_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"a map of 17 x 24 does not divide into the 16 x 12 positions .* set swap_prob=0"
    ):
        TokenEDA(synonym_prob=0, swap_prob=1)(toy_batch(gt_sem_seg=torch.zeros(B, 17, 24, dtype=torch.uint8)))


def test_share_of_samples_and_codes_that_are_replaced() -> None:
    batch = toy_batch(400)
    changed = run(TokenEDA(SYNONYMS, swap_prob=0), batch) != batch["inputs"]
    samples = changed.flatten(1).any(dim=1)
    assert abs(samples.float().mean().item() - 0.25) < 0.1
    assert abs(changed[samples].float().mean().item() - 0.25) < 0.02


def test_lists_of_different_lengths_are_drawn_from_evenly_and_codes_without_one_stay() -> None:
    table = {0: [5, 6, 7], 1: [8], 2: [], 4: [9, 10]}
    codes = torch.arange(5).view(1, 5, 1).expand(900, 5, 1)
    eda = TokenEDA(table, synonym_prob=1, token_prob=1, num_synonyms=2, swap_prob=0)
    after = run(eda, {"inputs": codes, "codebook": torch.zeros(K, 1)})[:, :, 0]
    assert after[:, 1].eq(8).all() and after[:, 2].eq(2).all() and after[:, 3].eq(3).all()
    for column, choices in ((0, [5, 6]), (4, [9, 10])):
        shares = [after[:, column].eq(choice).float().mean().item() for choice in choices]
        assert sum(shares) == pytest.approx(1) and min(shares) > 0.4


def test_the_last_draw_takes_the_last_synonym() -> None:
    nearly_one = torch.full((1, 1, 1), 1 - 2**-24)
    table, counts = torch.tensor([[1, 2, 0]]), torch.tensor([2])
    zero = torch.zeros(1, 1, 1, dtype=torch.int64)
    assert replace_synonyms(zero, table, counts, zero == 0, nearly_one).item() == 2


def test_input_is_not_written_to() -> None:
    batch = toy_batch()
    before = batch["inputs"].clone()
    run(TokenEDA(SYNONYMS, synonym_prob=0.5, swap_prob=0.5), batch)
    assert torch.equal(batch["inputs"], before)


def write_store(path: Path, synonyms: dict[int, list[int]] | None) -> Path:
    tokens, _ = make_tokens(4, (4, 4), K, 1)
    options = {"codebook_size": K, "grid": (4, 4), "tokenizer": {"name": "toy"}, "codebook": make_codebook(K, 4)}
    with StoreWriter(path, **options, synonyms=synonyms) as writer:
        writer.append(tokens)
    return path


def test_synonyms_of_a_file_a_store_and_a_dict_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "similar.json").write_text(json.dumps({str(code): SYNONYMS[code] for code in SYNONYMS}))
    write_store(tmp_path / "store", SYNONYMS)
    expected = run(TokenEDA(SYNONYMS), toy_batch())
    for source in (str(tmp_path / "similar.json"), tmp_path / "store"):
        assert torch.equal(run(TokenEDA(source), toy_batch()), expected)


def test_store_without_synonyms_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "store", None)
    with pytest.raises(ValueError, match=r"the store .*store carries no synonyms; .*tools/build_synonyms\.py"):
        TokenEDA(tmp_path / "store")(toy_batch())


def test_file_is_read_at_the_first_use_only(tmp_path: Path) -> None:
    eda = TokenEDA(tmp_path / "nowhere.json")  # testing needs no synonyms
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json do not exist; make them with .*build_synonyms\.py"):
        eda(toy_batch())


def test_table_goes_to_a_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    eda = TokenEDA(SYNONYMS)
    eda(toy_batch())
    monkeypatch.setattr(np, "zeros", lambda *_: pytest.fail("the table was made again"))
    eda(toy_batch())


@pytest.mark.parametrize("table", [{0: [1, K]}, {K: [1]}], ids=["synonym", "key"])
@pytest.mark.parametrize("prepare", [True, False])
def test_unknown_synonym_code_is_refused(tmp_path: Path, table: dict, prepare: bool) -> None:
    (tmp_path / "other.json").write_text(json.dumps(table))
    eda = TokenEDA(tmp_path / "other.json")
    with pytest.raises(ValueError, match=r"other\.json names code 30, but the codebook has the codes 0 to 29; make"):
        eda.prepare({}, "train", torch.zeros(K, 4), "") if prepare else eda(toy_batch())


@pytest.mark.parametrize("table", [{0: [-1]}, {0: [1.0]}, {0: ["1"]}, {True: [1]}])
def test_entry_that_is_no_code_is_refused(table: dict) -> None:
    with pytest.raises(ValueError, match=r"the given table of synonyms: .* is not a code, expected an integer"):
        TokenEDA(table)(toy_batch())


def test_table_of_no_synonyms_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no synonyms at all"):
        TokenEDA({0: []})(toy_batch())


def test_missing_synonyms_are_an_error_unless_switched_off() -> None:
    with pytest.raises(ValueError, match=r"synonym_prob is 0\.25, but there are no synonyms; .*build_synonyms\.py"):
        TokenEDA()
    eda = TokenEDA(synonym_prob=0, swap_prob=1)
    batch = toy_batch()
    del batch["codebook"]
    assert not torch.equal(run(eda, batch), batch["inputs"])


def test_codes_without_a_codebook_are_refused() -> None:
    batch = toy_batch()
    del batch["codebook"]
    with pytest.raises(ValueError, match="TokenEDA compares its synonyms with the codebook, and the batch has no"):
        TokenEDA(SYNONYMS)(batch)


def test_data_without_codes_are_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"store-of-dct holds values and no codes, .* leave it out of"):
        TokenEDA(SYNONYMS).prepare({"channels": 33}, "store-of-dct", None, None)


def test_embeddings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"was given embeddings \(4, 8, 5, 5\), .* put it first in"):
        TokenEDA(SYNONYMS)({"inputs": torch.zeros(4, 8, 5, 5), "codebook": torch.zeros(K, 8)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"synonym_prob": 1.1}, r"synonym_prob must be a probability .* got 1\.1"),
        ({"token_prob": -0.1}, r"token_prob must be a probability .* got -0\.1"),
        ({"swap_prob": float("nan")}, "swap_prob must be a probability .* got nan"),
        ({"synonym_prob": 0.6, "swap_prob": 0.5}, "synonym_prob is 0.6 and swap_prob 0.5, 1.1 together.*at most 1"),
        ({"max_swap": 2}, "max_swap must be a share .* got 2"),
        ({"num_synonyms": 0}, "num_synonyms must be at least 1, got 0"),
    ],
)
def test_wrong_option_is_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenEDA(SYNONYMS, **options)


def test_calls_do_not_grow_with_the_batch(count_calls: Callable) -> None:
    eda = TokenEDA(SYNONYMS)
    eda(toy_batch(1))  # makes the table
    batches = [toy_batch(batch_size, gt_sem_seg=torch.zeros(batch_size, H, W)) for batch_size in (1, 2, 256)]
    assert len({count_calls(lambda batch=batch: eda(batch)) for batch in batches}) == 1


def test_single_sample_batches_are_augmented() -> None:
    batch = toy_batch(1)
    assert any(not torch.equal(run(TokenEDA(SYNONYMS), batch, seed), batch["inputs"]) for seed in range(20))


def test_registry_builds_it() -> None:
    built = TRANSFORMS.build(dict(type="seitpp.TokenEDA", synonyms=SYNONYMS, num_synonyms=3))
    assert isinstance(built, TokenEDA)
    assert repr(built) == (
        "TokenEDA(synonyms=a table, synonym_prob=0.25, token_prob=0.25, num_synonyms=3, swap_prob=0.25, max_swap=0.25)"
    )


def test_a_sample_gets_synonyms_or_a_swap_and_never_both() -> None:
    """Rates of the recipes, told apart by how often each code occurs: a swap keeps that, a synonym does not."""
    count = 4096
    codes = torch.arange(H * W).remainder(K).view(1, H, W).expand(count, H, W)
    eda = TokenEDA({code: [(code + 1) % K] for code in range(K)}, token_prob=1, num_synonyms=1, max_swap=0.5)
    after = run(eda, {"inputs": codes, "codebook": torch.zeros(K, 4)})
    replaced = (after == (codes + 1) % K).flatten(1).all(dim=1)
    kept = (after == codes).flatten(1).all(dim=1)
    histogram = torch.nn.functional.one_hot(after, K).sum(dim=(1, 2))
    swapped = ~replaced & ~kept
    assert torch.equal(histogram[swapped].sum(dim=1), torch.full((int(swapped.sum()),), H * W))
    no_side = 0.25 / 6  # of the sides 0 to 5, 0 swaps nothing
    for share, expected in ((replaced, 0.25), (swapped, 0.25 - no_side), (kept, 0.5 + no_side)):
        assert share.float().mean().item() == pytest.approx(expected, abs=0.03)
