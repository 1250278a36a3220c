"""Moving averages, first vectors and dead codes of a codebook, against slow and obvious computations."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from seitpp.models.vq.codebook_update import CodebookUpdate, draw_vectors, kmeans
from seitpp.tokenizers.codebook import nearest_codes_euclidean

K, D = 6, 3


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_ema_equals_a_loop_over_codes() -> None:
    update = CodebookUpdate(K, D, rule="ema", decay=0.8, init=None, revive_below=0.0)
    codebook = torch.randn(K, D)
    update.before_step(codebook, torch.randn(12, D), nearest_codes_euclidean, step=0)
    counts = [12 / K] * K  # as if each code had been chosen equally often
    sums = [codebook[code] * counts[code] for code in range(K)]
    for step in range(1, 5):
        vectors = torch.randn(10, D)
        codes = nearest_codes_euclidean(vectors, codebook)
        update.before_step(codebook, vectors, nearest_codes_euclidean, step)
        update.after_batch(codebook, vectors, codes)
        for code in range(K):
            chosen = [vector for vector, own in zip(vectors, codes.tolist(), strict=True) if own == code]
            counts[code] = 0.8 * counts[code] + 0.2 * len(chosen)
            sums[code] = 0.8 * sums[code] + 0.2 * sum(chosen, torch.zeros(D))
            torch.testing.assert_close(codebook[code], sums[code] / counts[code])
    torch.testing.assert_close(update.counts, torch.tensor(counts))


def test_a_code_that_none_chooses_keeps_its_vector() -> None:
    update = CodebookUpdate(2, D, rule="ema", decay=0.5, init=None, revive_below=0.0)
    codebook = torch.randn(2, D)
    before = codebook[1].clone()
    vectors = torch.randn(4, D)
    update.before_step(codebook, vectors, nearest_codes_euclidean, step=0)
    for _ in range(200):  # until its averages underflow
        update.after_batch(codebook, vectors, torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(codebook[1], before)
    torch.testing.assert_close(codebook[0], vectors.mean(dim=0))


def test_gradient_rule_counts_and_leaves_the_codebook_alone() -> None:
    update = CodebookUpdate(K, D, rule="gradient", decay=0.5, init=None)
    codebook = torch.randn(K, D)
    before = codebook.clone()
    used = update.after_batch(codebook, torch.randn(4, D), torch.tensor([0, 0, 2, 5]))
    assert torch.equal(codebook, before)
    assert used.item() == pytest.approx(3 / K)
    assert update.counts.tolist() == [1.5, 0.5, 1.0, 0.5, 0.5, 1.0]
    assert "sums" not in update.state_dict()


@pytest.mark.parametrize("rule", ["gradient", "ema"])
def test_revival_resets_exactly_the_dead_codes(rule: str) -> None:
    update = CodebookUpdate(K, D, rule=rule, revive_below=0.1)
    update.counts.copy_(torch.tensor([5.0, 0.1, 6.0, 0.2, 0.7, 0.0]))  # mean 2, dead below 0.2
    codebook, candidates = torch.randn(K, D), torch.randn(K, D)
    before = codebook.clone()
    dead = update.revive(codebook, candidates)
    assert dead.tolist() == [False, True, False, False, False, True]
    assert torch.equal(codebook[dead], candidates[dead])
    assert torch.equal(codebook[~dead], before[~dead])
    assert update.counts.tolist() == pytest.approx([5.0, 2.0, 6.0, 0.2, 0.7, 2.0])
    if rule == "ema":
        torch.testing.assert_close(update.sums[dead], 2 * candidates[dead])


def test_dead_codes_are_revived_at_the_interval_alone() -> None:
    update = CodebookUpdate(K, D, init=None, revive_below=0.5, revive_interval=4)
    vectors = torch.randn(20, D)
    for step in range(1, 9):
        codebook = torch.zeros(K, D)
        update.counts.copy_(torch.tensor([0.0] + [1.0] * (K - 1)))
        update.before_step(codebook, vectors, nearest_codes_euclidean, step)
        assert codebook[1:].eq(0).all()
        assert (codebook[0] == vectors).all(dim=1).any().item() == (step % 4 == 0)


def test_code_that_nothing_chose_for_some_steps_is_dead() -> None:
    update = CodebookUpdate(K, D, init=None, revive_below=0.0, revive_interval=1, revive_unused=3)
    codebook, vectors = torch.zeros(K, D), torch.randn(20, D)
    used = torch.tensor([0, 1, 2, 3, 4] * 4)
    for _ in range(3):
        assert not update.dead().any()
        update.after_batch(codebook, vectors, used)
    assert update.dead().tolist() == [False] * 5 + [True]
    update.before_step(codebook, vectors, nearest_codes_euclidean, step=3)
    assert codebook[:5].eq(0).all() and (codebook[5] == vectors).all(dim=1).any()
    assert not update.dead().any()


def test_batches_of_one_step_count_as_one_unused_step() -> None:
    update = CodebookUpdate(2, D, init=None, revive_below=0.0, revive_unused=2)
    codebook, vectors = torch.zeros(2, D), torch.randn(4, D)
    for codes, ends in ((0, False), (1, True), (0, False), (0, True)):
        update.after_batch(codebook, vectors, torch.full((4,), codes), ends_step=ends)
    assert update.unused.tolist() == [0, 1]


def test_codebook_follows_an_encoder_that_turns_away() -> None:
    used: dict[int, list[int]] = {0: [], 1: []}
    for unused, counts in used.items():
        torch.manual_seed(0)
        update = CodebookUpdate(K, D, rule="ema", decay=0.95, revive_interval=1, revive_unused=unused)
        codebook, images = torch.zeros(K, D), torch.randn(60, D)
        for step in range(20):
            vectors = images + 0.3 * step
            update.before_step(codebook, vectors, nearest_codes_euclidean, step)
            codes = nearest_codes_euclidean(vectors, codebook)
            counts.append(round(K * update.after_batch(codebook, vectors, codes).item()))
    assert max(used[0][-5:]) <= 2 and min(used[1]) >= 4


def test_steps_without_use_are_in_checkpoints_of_runs_that_ask_for_them() -> None:
    assert "unused" in CodebookUpdate(K, D, revive_unused=5).state_dict()
    assert "unused" not in CodebookUpdate(K, D).state_dict()


def test_random_start_takes_different_vectors_of_the_batch() -> None:
    update = CodebookUpdate(K, D, init="random")
    codebook, vectors = torch.zeros(K, D), torch.randn(9, D)
    update.before_step(codebook, vectors, nearest_codes_euclidean, step=0)
    places = [(row == vectors).all(dim=1).nonzero().item() for row in codebook]
    assert len(set(places)) == K
    assert update.counts.tolist() == [9 / K] * K


def test_kmeans_start_finds_separate_clusters() -> None:
    centres = 10 * torch.eye(3)
    vectors = centres.repeat_interleave(20, dim=0) + 0.01 * torch.randn(60, 3)
    found = kmeans(vectors, 3, nearest_codes_euclidean, iterations=10)
    codes = nearest_codes_euclidean(vectors, found)
    counts = codes.bincount(minlength=3)
    for code in counts.nonzero().flatten():
        torch.testing.assert_close(found[code], vectors[codes == code].mean(dim=0))


def test_fewer_vectors_than_codes_are_drawn_again() -> None:
    vectors = torch.randn(4, D)
    drawn = draw_vectors(vectors, 10)
    times = [(drawn == vector).all(dim=1).sum().item() for vector in vectors]
    assert sorted(times) == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(rule="sgd"), "rule must be 'gradient' or 'ema', got 'sgd'"),
        (dict(init="zeros"), "init must be 'kmeans', 'random' or None, got 'zeros'"),
        (dict(decay=1.0), r"decay must be in \[0, 1\), got 1.0"),
        (dict(revive_interval=0), "revive_interval at least 1, got 0.05, 0"),
    ],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CodebookUpdate(K, D, **options)


RANKS = """
import torch
from torch import distributed as dist
from seitpp.tokenizers.codebook import nearest_codes_euclidean
from seitpp.models.vq.codebook_update import CodebookUpdate

dist.init_process_group("gloo")
torch.manual_seed(dist.get_rank())  # each rank has its own vectors and draws
for rule in ("ema", "gradient"):
    for init in ("kmeans", "random"):
        update = CodebookUpdate(8, 3, rule=rule, decay=0.5, init=init, revive_below=0.9, revive_interval=1)
        codebook = torch.zeros(8, 3)
        for step in range(4):
            vectors = torch.randn(20, 3)
            update.before_step(codebook, vectors, nearest_codes_euclidean, step)
            used = update.after_batch(codebook, vectors, nearest_codes_euclidean(vectors, codebook))
        kept = [value.flatten() for value in update.state_dict().values()]
        state = torch.cat([codebook.flatten(), used[None], *kept])
        both = [torch.empty_like(state) for _ in range(2)]
        dist.all_gather(both, state)
        assert torch.equal(*both), (rule, init)
        assert codebook.abs().sum() > 0
print("ranks agree", flush=True)
"""


@pytest.mark.slow
def test_two_processes_with_different_vectors_keep_one_codebook(tmp_path: Path, spawn: Callable) -> None:
    (tmp_path / "ranks.py").write_text(RANKS)
    line = ("python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", tmp_path / "ranks.py")
    process = spawn(*line)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output[-3000:]
    assert output.count("ranks agree") == 2
