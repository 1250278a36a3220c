"""rANS: the stream against a slow reference, sizes against the entropy, tables, contexts, and damage."""

import hashlib
import math
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seitpp.storage import RansContextCodec, StoreSettings, build_codec, conditional_bits
from seitpp.storage.contexts import fit_model, log2_fixed
from seitpp.storage.entropy_model import (
    ChannelModel,
    EntropyModel,
    neighbours,
    pack_numbers,
    quantise,
    unpack_numbers,
)
from seitpp.storage.rans import decode_rows, encode_rows

NAMES = ["rans", "rans-context"]
SLOW_MACHINES = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reference_encode(symbols: list[int], freqs: list[int], scale_bits: int) -> bytes:
    """rANS of one row as the documentation words it, with Python's integers."""
    starts = [sum(freqs[:symbol]) for symbol in range(len(freqs))]
    state, words = 2**16, []
    for symbol in reversed(symbols):
        if state >= freqs[symbol] * 2 ** (32 - scale_bits):
            words.append(state % 2**16)
            state //= 2**16
        state = state // freqs[symbol] * 2**scale_bits + state % freqs[symbol] + starts[symbol]
    words += [state % 2**16, state // 2**16]
    return b"".join(word.to_bytes(2, "little") for word in reversed(words))


def image_like(num: int, shape: tuple[int, int, int], codebook_size: int, seed: int = 0) -> np.ndarray:
    """Codes that resemble their left neighbour most of the time."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, codebook_size, (num, *shape))
    for column in range(1, shape[1]):
        same = rng.random((num, shape[0], shape[2])) < 0.8
        codes[:, :, column] = np.where(same, (codes[:, :, column - 1] + 1) % codebook_size, codes[:, :, column])
    return codes.astype(np.uint16)


def decode(name: str, codes: np.ndarray, codebook_size: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes through the codec and through its packed tables, at some rows."""
    codec = build_codec(name, codebook_size)
    model = codec.fit(codes)
    content, offsets = codec.encode(codes, model)
    loaded = codec.load_tables(codec.pack_tables(model), codes.shape[3])
    decoded, sound = codec.decode(content, offsets[:-1][rows], offsets[1:][rows], loaded, codes.shape[1:])
    return decoded.reshape(-1, *codes.shape[1:]), sound


@given(
    name=st.sampled_from(NAMES),
    codebook_size=st.sampled_from([1, 2, 3, 255, 256, 257, 391, 1030, 8192, 2**16]),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3)),
    num_rows=st.integers(1, 30),
    spread=st.sampled_from([0.0, 0.02, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(SLOW_MACHINES, max_examples=60)
def test_codes_survive(
    name: str, codebook_size: int, shape: tuple[int, int, int], num_rows: int, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, max(1, int(codebook_size * spread)), (num_rows, *shape))
    codes.flat[-1] = codebook_size - 1
    rows = rng.integers(0, num_rows, 7)
    decoded, sound = decode(name, codes, codebook_size, rows)
    assert sound.all() and decoded.dtype == (np.uint8 if codebook_size <= 256 else np.uint16)
    np.testing.assert_array_equal(decoded, codes[rows])


def test_contexts_are_used_where_neighbours_tell_something() -> None:
    codes = image_like(300, (16, 16, 2), 40)
    model = build_codec("rans-context", 40).fit(codes)
    assert all(channel.num_contexts > 1 for channel in model.channels)
    decoded, sound = decode("rans-context", codes, 40, np.arange(300)[::-1])
    assert sound.all()
    np.testing.assert_array_equal(decoded, codes[::-1])
    plain, _ = encode_rows(codes, build_codec("rans", 40).fit(codes))
    assert len(encode_rows(codes, model)[0]) < 0.6 * len(plain)


def test_one_context_stays_where_neighbours_tell_nothing() -> None:
    codes = np.random.default_rng(0).integers(0, 40, (50, 8, 8, 1))
    assert build_codec("rans-context", 40).fit(codes).channels[0].num_contexts == 1


def test_more_codes_than_are_grouped_one_by_one() -> None:
    codes = image_like(40, (16, 16, 1), 3000)
    decoded, sound = decode("rans-context", codes, 3000, np.arange(40))
    assert sound.all()
    np.testing.assert_array_equal(decoded, codes)


@given(
    symbols=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    weights=st.lists(st.integers(1, 1000), min_size=6, max_size=6),
    scale_bits=st.sampled_from([12, 14, 16]),
)
@SLOW_MACHINES
def test_stream_is_the_documented_one(symbols: list[int], weights: list[int], scale_bits: int) -> None:
    freqs = quantise(np.array([weights]), scale_bits)
    none = np.zeros(7, np.uint8)
    model = EntropyModel(scale_bits, (ChannelModel(none, none, freqs[None]),))
    content, offsets = encode_rows(np.array(symbols).reshape(1, 1, -1, 1), model)
    assert content.tobytes() == reference_encode(symbols, freqs[0].tolist(), scale_bits)
    assert offsets.tolist() == [0, len(content)]


def test_worked_example_of_the_documentation() -> None:
    none = np.zeros(3, np.uint8)
    model = EntropyModel(12, (ChannelModel(none, none, np.array([[[4080, 16]]])),))
    content, _ = encode_rows(np.array([1, 1, 0, 1]).reshape(1, 2, 2, 1), model)
    assert content.tobytes() == bytes.fromhex("0F01 F1FF 0011")


def test_stream_and_tables_are_the_recorded_ones() -> None:
    """Without the compression of the tables, which is zlib's: choosing groups and frequencies must never change."""
    codes = image_like(200, (8, 8, 1), 30)
    digest = hashlib.sha256()
    for name in NAMES:
        model = build_codec(name, 30).fit(codes)
        digest.update(model.to_bytes() + encode_rows(codes, model)[0].tobytes())
    assert digest.hexdigest() == "59a7907bda56d93ecbc6a1361d603a8020faddaf38907ddcbc514c999e7120f8"


def test_size_is_close_to_the_entropy() -> None:
    codes = np.minimum(np.random.default_rng(0).geometric(0.02, (200, 32, 32, 1)) - 1, 390)
    counts = np.array(list(Counter(codes.ravel().tolist()).values()))
    entropy_bytes = -(counts / counts.sum() * np.log2(counts / counts.sum())).sum() * 1024 / 8
    content, _ = encode_rows(codes, build_codec("rans", 391).fit(codes))
    # the state, half a word on average for the bits that a word rounds up to, and the quantised frequencies
    assert entropy_bytes < len(content) / 200 < 1.002 * entropy_bytes + 4


def test_batches_do_not_change_the_stream() -> None:
    codes = image_like(1100, (2, 2, 1), 9)  # more than are encoded at once
    model = build_codec("rans", 9).fit(codes)
    content, offsets = encode_rows(codes, model)
    for row in (0, 1023, 1024, 1099):
        alone, _ = encode_rows(codes[row : row + 1], model)
        assert alone.tobytes() == content[offsets[row] : offsets[row + 1]].tobytes()


@given(
    counts=st.lists(st.lists(st.integers(0, 10**9), min_size=8, max_size=8), min_size=1, max_size=4),
    scale_bits=st.integers(3, 16),
)
@SLOW_MACHINES
def test_quantised_frequencies(counts: list[list[int]], scale_bits: int) -> None:
    array = np.array(counts)
    freqs = quantise(array, scale_bits)
    np.testing.assert_array_equal(freqs > 0, array > 0)
    np.testing.assert_array_equal(freqs.sum(axis=1), np.where(array.any(axis=1), 1 << scale_bits, 0))


def test_quantised_frequencies_by_hand() -> None:
    # 16 slots: the single code takes 1 slot, of the other 15 go 7.5 to each; the lower code gets the odd one
    assert quantise(np.array([[100, 0, 1, 100]]), 4).tolist() == [[8, 0, 1, 7]]


@given(numbers=st.lists(st.integers(0, 2**21 - 1), min_size=1, max_size=50))
@SLOW_MACHINES
def test_packed_numbers(numbers: list[int]) -> None:
    packed = np.frombuffer(pack_numbers(np.array(numbers)), np.uint8)
    values, used = unpack_numbers(packed, len(numbers))
    assert values.tolist() == numbers and used == len(packed)
    assert len(packed) == sum(1 + (number >= 128) + (number >= 2**14) for number in numbers)


def test_fixed_point_logarithm() -> None:
    numbers = np.arange(1, 100_000)
    assert np.abs(log2_fixed(numbers) / 2**12 - np.log2(numbers)).max() < 0.01
    assert log2_fixed(2 ** np.arange(40)).tolist() == [4096 * power for power in range(40)]


def test_neighbours_by_hand() -> None:
    left, upper = neighbours(np.array([[[1, 2], [3, 4]]]), 9)
    assert left.tolist() == [[[9, 1], [9, 3]]] and upper.tolist() == [[[9, 9], [1, 2]]]


@pytest.mark.parametrize("name", NAMES)
def test_more_codes_than_the_tables_hold(name: str) -> None:
    with pytest.raises(ValueError, match=rf"codec {name} holds at most 65536 codes.*is 65537; use bitpacked"):
        StoreSettings(codebook_size=2**16 + 1, grid=(2, 2), tokenizer={}, codec=name, samples_per_shard=3)


def test_codes_without_a_frequency_are_refused() -> None:
    codes = np.zeros((2, 3, 3, 1), int)
    with pytest.raises(ValueError, match="the tables were fitted to other samples"):
        encode_rows(codes + 1, fit_model(codes, 2, with_contexts=False))


# Damage


@pytest.mark.parametrize("name", NAMES)
def test_flipped_bits_of_a_row_are_refused_but_for_rare_other_rows(name: str) -> None:
    codes = image_like(60, (6, 6, 1), 20)
    codec = build_codec(name, 20)
    model = codec.fit(codes)
    content, offsets = codec.encode(codes, model)
    first, last = int(offsets[30]), int(offsets[31])
    accepted = 0
    for bit in range(8 * first, 8 * last):
        damaged = content.copy()
        damaged[bit // 8] ^= 1 << bit % 8
        decoded, sound = codec.decode(damaged, offsets[29:32], offsets[30:33], model, (6, 6, 1))
        assert sound[[0, 2]].all() and decoded.max() < 20
        np.testing.assert_array_equal(decoded[[0, 2]].reshape(2, 6, 6, 1), codes[[29, 31]])
        accepted += sound[1]
        assert not sound[1] or (decoded[1] != codes[30].ravel()).any()  # then it is the row of other codes
    assert accepted <= 0.02 * 8 * (last - first)  # which the CRC-32 of a store finds


@pytest.mark.parametrize("name", NAMES)
def test_truncated_and_shifted_rows_are_refused(name: str) -> None:
    codes = image_like(20, (6, 6, 1), 20)
    codec = build_codec(name, 20)
    model = codec.fit(codes)
    content, offsets = codec.encode(codes, model)
    start, stop = int(offsets[-2]), int(offsets[-1])
    for low, high in ((start, stop - 2), (start + 2, stop), (start, start), (start, start + 1), (start + 1, stop + 1)):
        _, sound = codec.decode(content, np.array([low]), np.array([high]), model, (6, 6, 1))
        assert not sound[0], (low, high)
    _, sound = codec.decode(content[:0], np.array([0]), np.array([0]), model, (6, 6, 1))
    assert not sound[0]


@given(seed=st.integers(0, 2**32 - 1), num_bytes=st.integers(0, 60))
@settings(SLOW_MACHINES, max_examples=60)
def test_random_bytes_never_leave_the_range(seed: int, num_bytes: int) -> None:
    model = build_codec("rans-context", 20).fit(image_like(300, (8, 8, 1), 20))
    noise = np.random.default_rng(seed).integers(0, 256, num_bytes).astype(np.uint8)
    codes, sound = decode_rows(noise, np.array([0, 2]), np.array([num_bytes] * 2), model, (8, 8, 1))
    assert codes.max() < 20 and not sound.any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tables: b"", "tables have 0 scale bits, expected 12 to 16"),
        (lambda tables: bytes([17]) + tables[1:], "tables have 17 scale bits"),
        (lambda tables: tables[:1], r"tables name \[\] groups"),
        (lambda tables: tables[:1] + b"\0" + tables[2:], r"tables name \[0, 1\] groups"),
        (lambda tables: tables[:-1], "tables hold 3 numbers, expected 4"),
        (lambda tables: tables + b"\0", "tables have 11 bytes, 10 were expected"),
        (lambda tables: tables[:3] + bytes([tables[3] ^ 1]) + tables[4:], "do not sum to 4096"),
        (lambda tables: tables[:1] + b"\2" + tables[2:], "a map to groups that is no map of 5 to 2"),
        (lambda tables: tables[:3] + b"\xff\xff\xff\x01" + tables[5:], "a number of more than three bytes"),
    ],
)
def test_damaged_tables_are_refused(change, message: str) -> None:
    codec = build_codec("rans", 4)
    tables = codec.fit(np.array([0, 0, 0, 1, 1, 3]).reshape(1, 2, 3, 1)).to_bytes()
    with pytest.raises(ValueError, match=message):
        codec.load_tables(zlib.compress(change(tables)), 1)


def test_tables_that_would_fill_the_memory_are_refused() -> None:
    many = pack_numbers(np.tile([1, 2**16 - 1], 255 * 255))
    tables = bytes([16, 255, 255]) + bytes(2 * 3) + many  # some hundred bytes after zlib, 32 GiB of slots
    with pytest.raises(ValueError, match="tables have 65025 contexts of 65536 slots"):
        build_codec("rans", 2).load_tables(zlib.compress(tables), 1)
    one = bytes([16, 1, 1]) + pack_numbers(np.array([1, 2**16 - 1]))
    assert len(build_codec("rans", 2).load_tables(zlib.compress(one[:1] + one[1:] * 100), 100).channels) == 100


def test_damaged_compression_of_tables_is_refused() -> None:
    codec = build_codec("rans", 4)
    packed = codec.pack_tables(codec.fit(np.zeros((1, 2, 3, 1), int)))
    for content in (packed[:-1], packed + b"x", b"x" + packed, b""):
        with pytest.raises(ValueError, match="tables are damaged"):
            codec.load_tables(content, 1)


def test_held_out_bits_lie_between_zero_and_order_zero() -> None:
    codes = image_like(400, (8, 8, 1), 16)
    bits = conditional_bits(codes[:200], codes[200:], 16)
    # a fifth of the codes is uniform, so each costs about H(0.8) + 0.2 * log2(16), and the first column 4 bits
    assert 1.5 + 0.25 * 0.5 < bits < 2.0
    noise = np.random.default_rng(0).integers(0, 16, (400, 8, 8, 1))
    assert conditional_bits(noise[:200], noise[200:], 16) == pytest.approx(4, abs=0.05)
    assert conditional_bits(noise, noise, 2**16 + 1) is None
    assert math.isfinite(conditional_bits(codes[:1], codes[1:], 16))


def test_context_codec_is_a_value() -> None:
    assert build_codec("rans-context", 5) == RansContextCodec(5) != build_codec("rans", 5)
