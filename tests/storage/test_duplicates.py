"""`seitpp.storage.duplicates`: what is planted is found, in samples and stores, crowds stay cheap, recall as stated."""

from pathlib import Path

import numpy as np
import pytest

from seitpp.storage import StoreReader, StoreWriter
from seitpp.storage import duplicates as module
from seitpp.storage.bands import BandKeys, Bands, Sketches, choose_bands
from seitpp.storage.duplicates import Duplicates, describe_found, find_duplicates


class Tokens:
    """Samples in memory with what a store says of itself."""

    def __init__(self, tokens: np.ndarray, codebook_size: int = 391, channels: int | None = None) -> None:
        self.tokens, self.grid, self.sample_shape = tokens, tokens.shape[1:3], tokens.shape[1:]
        self.dtype, self.codebook_size, self.channels = tokens.dtype, codebook_size, channels
        self.minimum, self.codebook_sha256, self.classes, self.labels = int(min(0, tokens.min())), None, None, None
        self.rows_read = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def read(self, indices: np.ndarray) -> np.ndarray:
        self.rows_read += len(indices)
        return self.tokens[indices]


def random_tokens(count: int, side: int = 16, codes: int = 391, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(codes, size=(count, side, side)).astype(np.uint16)


def changed(sample: np.ndarray, distance: int, seed: int = 0, codes: int = 391) -> np.ndarray:
    """Return a sample with other codes at so many positions."""
    rng, values = np.random.default_rng([99, seed]), sample.copy().reshape(sample.shape[0] * sample.shape[1], -1)
    places = rng.permutation(len(values))[:distance]
    values[places] = (values[places] + rng.integers(1, codes, size=(distance, 1))) % codes
    return values.reshape(sample.shape).astype(sample.dtype)


def pairs_of(found: Duplicates) -> list[tuple[int, int, int]]:
    return [tuple(row) for row in found.pairs().tolist()]


@pytest.fixture(params=["all pairs", "bands"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "bands":
        monkeypatch.setattr(module, "_ALL_PAIRS", 1)
    return request.param


def test_planted_duplicates_are_found_with_their_distances(way: str) -> None:
    tokens = random_tokens(600)
    tokens[300] = tokens[7]
    tokens[599] = changed(tokens[8], 1)
    tokens[20] = changed(tokens[9], 13)
    found = find_duplicates(Tokens(tokens), max_share=0.1, recall=0.999)
    assert (found.bands is None) == (way == "all pairs")
    assert pairs_of(found) == [(7, 300, 0), (8, 599, 1), (9, 20, 13)]
    assert [found.num_within(distance) for distance in (0, 1, 12, 13)] == [2, 4, 4, 6]
    assert [group.tolist() for group in found.groups()] == [[7, 300], [8, 599], [9, 20]]


def test_pairs_beyond_the_distance_are_none(way: str) -> None:
    tokens = random_tokens(100)
    tokens[1] = changed(tokens[0], 26)
    assert not len(find_duplicates(Tokens(tokens), max_share=25 / 256, recall=0.999).pairs())
    assert len(find_duplicates(Tokens(tokens), max_share=26 / 256, recall=0.999).pairs()) == 1


def test_planted_leaks_are_found_and_pairs_within_a_store_are_none(way: str) -> None:
    train, val = random_tokens(400), random_tokens(50, seed=1)
    train[1] = train[0]
    val[1] = val[0]
    val[5], val[6] = train[3], train[3]
    val[7] = changed(train[4], 10)
    found = find_duplicates(Tokens(train), Tokens(val), max_share=0.1, recall=0.999)
    assert pairs_of(found) == [(3, 405, 0), (3, 406, 0), (4, 407, 10)]
    assert found.num_within(0) == 2 and found.num_within(25) == 3  # of the second store's samples
    listed = describe_found(found, [0, 25])
    assert listed["pairs"] == [[3, 5, 0], [3, 6, 0], [4, 7, 10]] and "groups" not in listed
    assert listed["num_within"] == {"0": 2, "25": 3} and listed["recall"]["0"] == 1


def test_nearest_sample_is_the_nearest_of_several(way: str) -> None:
    tokens = random_tokens(100)
    tokens[1], tokens[2] = changed(tokens[0], 9, seed=1), changed(tokens[0], 4, seed=2)
    found = find_duplicates(Tokens(tokens), max_share=0.1, recall=0.999)
    assert found.nearest[:3].tolist() == [2, 0, 0] and found.distance[:3].tolist() == [4, 9, 4]
    assert found.groups()[0].tolist() == [0, 1, 2]


def test_equal_samples_point_at_each_other_and_share_a_group(way: str) -> None:
    tokens = random_tokens(100)
    tokens[[10, 20, 30]] = tokens[5]
    tokens[40] = changed(tokens[5], 3)
    found = find_duplicates(Tokens(tokens), max_share=0.1, recall=0.999)
    assert found.nearest[[5, 10, 20, 30, 40]].tolist() == [10, 5, 5, 5, 5]
    assert found.distance[[5, 10, 20, 30, 40]].tolist() == [0, 0, 0, 0, 3]
    assert found.groups()[0].tolist() == [5, 10, 20, 30, 40]


def test_channels_of_a_position_are_one_token(way: str) -> None:
    values = np.random.default_rng(0).integers(-9, 9, size=(100, 6, 6, 5)).astype(np.int8)
    values[1] = values[0]
    values[1, 2, 3], values[1, 0, 0, 4] = values[1, 2, 3] + 1, values[1, 0, 0, 4] - 1
    values[3] = values[2]
    found = find_duplicates(Tokens(values, 19, channels=5), max_share=0.1, recall=0.999)
    assert pairs_of(found) == [(2, 3, 0), (0, 1, 2)]


@pytest.mark.parametrize("distance", [8, 32, 64])
def test_share_of_pairs_found_is_the_stated_recall(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALL_PAIRS", 1)
    half, shares = 300, []
    tokens = random_tokens(2 * half)
    for number in range(half):
        tokens[half + number] = changed(tokens[number], distance, seed=number)
    for seed in range(16):  # all pairs meet the same bands, so that bands must be drawn anew
        found = find_duplicates(Tokens(tokens), max_share=0.25, recall=0.8, seed=seed)
        shares.append(len(found.pairs()) / half)
    assert np.mean(shares) == pytest.approx(found.recall(distance), abs=4 * np.std(shares) / 4 + 0.005)
    assert found.recall(64) >= 0.8 and not found.crowded


def test_recall_follows_its_formula_with_random_bands() -> None:
    rng, bands = np.random.default_rng(0), Bands(num_positions=16, size=4, count=3)
    base = rng.integers(391, size=(1, 16)).astype(np.uint64)
    other = base.copy()
    other[0, :4] += 1
    met = 0
    for _ in range(2000):
        keys = BandKeys(bands, rng)(np.concatenate([base, other]), range(3))
        met += any((own >> np.uint64(32))[0] == (own >> np.uint64(32))[1] for own in keys)
    assert bands.recall(4) == pytest.approx(1 - (1 - 495 / 1820) ** 3)  # C(12, 4) = 495, C(16, 4) = 1820
    assert met / 2000 == pytest.approx(bands.recall(4), abs=0.04)


def test_larger_bands_are_taken_where_samples_are_alike() -> None:
    rng = np.random.default_rng(0)
    different = rng.integers(391, size=(2000, 64)).astype(np.uint64)
    alike = np.where(rng.random((2000, 64)) < 0.3, different, 0)
    few, many = (choose_bands(tokens, 64, 100_000, 6, 0.95, 32, rng) for tokens in (different, alike))
    assert few.size < many.size and few.count < many.count
    assert few.recall(6) >= 0.95 and many.recall(6) >= 0.95


def test_crowds_of_copies_do_not_make_bands_larger() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.integers(391, size=(4000, 64)).astype(np.uint64)
    few = choose_bands(tokens, 64, 100_000, 6, 0.95, 32, rng)
    tokens[:800] = np.where(rng.random((800, 64)) < 0.03, tokens[:800], 0)
    assert choose_bands(tokens, 64, 100_000, 6, 0.95, 32, rng).size <= few.size + 3


@pytest.mark.parametrize("distance", [0, 20, 64])
def test_sketches_keep_pairs_within_the_distance(distance: int) -> None:
    rng = np.random.default_rng(0)
    tokens = random_tokens(300).reshape(300, -1)
    near = np.stack([changed(row.reshape(16, 16), distance, number).ravel() for number, row in enumerate(tokens)])
    sketches = Sketches(900, 256, 64, rng)
    sketches.set(slice(0, 300), tokens)
    sketches.set(slice(300, 600), near)
    sketches.set(slice(600, 900), random_tokens(300, seed=5).reshape(300, -1))
    rows = np.arange(300)
    assert sketches.may_be_near(rows, rows + 300).all()
    assert not sketches.may_be_near(rows, rows + 600).any()


def test_crowd_of_equal_samples_is_one_group_at_little_cost(way: str) -> None:
    tokens = random_tokens(3000)
    tokens[500:2900] = 0
    source = Tokens(tokens)
    found = find_duplicates(source, max_share=0.1)
    assert [len(group) for group in found.groups()] == [2400]
    assert len(found.pairs()) == 2399 and source.rows_read < 4 * 3000


def test_crowd_of_similar_samples_is_one_group_at_little_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALL_PAIRS", 1)
    tokens = random_tokens(3000)
    tokens[:2000] = 0
    rng = np.random.default_rng(0)
    for number in range(2000):  # blank, each with other noise at 6 of 256 positions
        tokens[number].ravel()[rng.permutation(256)[:6]] = rng.integers(1, 391, size=6)
    source = Tokens(tokens)
    found = find_duplicates(source, max_share=0.1)
    assert [len(group) for group in found.groups()] == [2000]
    assert found.crowded > 0.2 and source.rows_read < 40 * 3000  # all pairs would be 4,000,000 rows


def test_result_depends_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALL_PAIRS", 1)
    tokens = random_tokens(200)
    tokens[100:] = np.stack([changed(row, 60, number) for number, row in enumerate(tokens[:100])])
    first, again, other = (pairs_of(find_duplicates(Tokens(tokens), recall=0.5, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_few_keys_at_a_time_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ALL_PAIRS", 1)
    tokens = random_tokens(200)
    tokens[100:] = np.stack([changed(row, 60, number) for number, row in enumerate(tokens[:100])])
    whole = find_duplicates(Tokens(tokens))
    monkeypatch.setattr(module, "_KEY_BYTES", 8 * 200 * 3)
    seen = []
    parts = find_duplicates(Tokens(tokens), progress=lambda done, total: seen.append((done, total)))
    assert pairs_of(whole) == pairs_of(parts)
    assert seen[-1][0] == seen[-1][1] and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_single_sample_has_none() -> None:
    found = find_duplicates(Tokens(random_tokens(1)))
    assert not len(found.pairs()) and found.groups() == [] and found.num_within(0) == 0


def test_stores_are_searched_as_they_lie_on_disk(tmp_path: Path) -> None:
    tokens = random_tokens(40, side=4, codes=20)
    tokens[30] = tokens[3]
    for name, part in {"a": tokens[:25], "b": tokens[25:]}.items():
        with StoreWriter(tmp_path / name, codebook_size=20, grid=(4, 4), tokenizer={"name": "test"}) as writer:
            writer.append(part)
    found = find_duplicates(StoreReader(tmp_path / "a"), StoreReader(tmp_path / "b"), max_share=0)
    assert pairs_of(found) == [(3, 30, 0)]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Tokens(random_tokens(3, side=8)), r"differ in grid, \(16, 16\) and \(8, 8\)"),
        (Tokens(random_tokens(3), codebook_size=512), "differ in codebook_size, 391 and 512"),
    ],
)
def test_stores_of_other_tokens_are_refused(other: Tokens, message: str) -> None:
    with pytest.raises(ValueError, match=f"{message}.*compare stores of the same tokenizer"):
        find_duplicates(Tokens(random_tokens(3)), other)


@pytest.mark.parametrize("options", [{"max_share": 1.0}, {"max_share": -0.1}, {"recall": 1.0}, {"recall": 0.0}])
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=r"max_share is .* and recall .*, expected"):
        find_duplicates(Tokens(random_tokens(3)), **options)
