"""The dense codec: plain rows as documented, frames that survive, dictionaries that pay, damage that is found."""

import struct
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seitpp.storage import ZstdCodec, build_codec, code_dtype
from seitpp.storage.zstd_rows import FrameReader, compress, frame_header

SLOW_MACHINES = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def image_like(num: int, num_codes: int, codebook_size: int) -> np.ndarray:
    """Codes with runs that many rows share."""
    rng = np.random.default_rng(0)
    runs = rng.integers(0, codebook_size, (20, 16))
    return runs[rng.integers(0, 20, (num, num_codes // 16))].reshape(num, num_codes).astype(code_dtype(codebook_size))


def decompressed(reader: FrameReader, frame: bytes) -> bytes | None:
    try:
        return reader.decompressor()(frame, allow_extra_data=False)
    except zstandard.ZstdError:
        return None


def read(codec: ZstdCodec, dictionary: bytes, frames: list[bytes], num_codes: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes and soundness of frames, as if all of them started as they should."""
    plain_bytes, rows = codec.plain_bytes(num_codes), [decompressed(FrameReader(dictionary), frame) for frame in frames]
    plain = np.frombuffer(b"".join(row or bytes(plain_bytes) for row in rows), np.uint8).reshape(-1, plain_bytes)
    return codec.decode(plain, num_codes), np.array([row is not None for row in rows])


@given(
    codebook_size=st.integers(1, 2**18) | st.sampled_from([2**b + d for b in range(1, 18) for d in (0, 1)]),
    num_channels=st.integers(1, 3),
    num_rows=st.integers(1, 12),
    positions=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
@settings(SLOW_MACHINES, max_examples=40)
def test_codes_survive(codebook_size: int, num_channels: int, num_rows: int, positions: int, seed: int) -> None:
    codec = build_codec("zstd", codebook_size, num_channels)
    codes = np.random.default_rng(seed).integers(0, codebook_size, (num_rows, positions * num_channels))
    codes[:, -1:] = codebook_size - 1
    dictionary, frames = compress(codec, codes.astype(code_dtype(codebook_size)))
    decoded, sound = read(codec, dictionary, frames, codes.shape[1])
    assert sound.all() and decoded.dtype == code_dtype(codebook_size)
    np.testing.assert_array_equal(decoded, codes)


def test_plain_row_of_the_documentation() -> None:
    codec = build_codec("zstd", 1000, 2)
    rows = codec.encode(np.array([[513, 2, 3, 768]], np.uint16))
    assert rows.tobytes().hex() == "01030200c2" and codec.plain_bytes(4) == 5
    assert build_codec("zstd", 256).encode(np.array([[7, 255]], np.uint8)).tolist() == [[7, 255]]


@pytest.mark.parametrize(
    ("plain_bytes", "header"),
    [(5, "2405"), (255, "24ff"), (256, "640000"), (65791, "64ffff"), (65792, "a400010100"), (2**23 + 9, "a409008000")],
)
def test_every_frame_starts_alike(plain_bytes: int, header: str) -> None:
    assert frame_header(plain_bytes).hex() == "28b52ffd" + header
    dictionary, (frame,) = compress(build_codec("zstd", 9), np.zeros((1, plain_bytes), np.uint8))
    assert dictionary == b"" and frame.startswith(frame_header(plain_bytes))
    found = zstandard.get_frame_parameters(frame)
    assert (found.content_size, found.has_checksum, found.dict_id) == (plain_bytes, True, 0)
    assert found.window_size <= max(1024, plain_bytes)


def test_dictionary_is_kept_where_it_saves_more_than_it_takes() -> None:
    codec, codes = build_codec("zstd", 391), image_like(600, 64, 391)
    dictionary, frames = compress(codec, codes)
    assert 256 <= len(dictionary) <= 4096 and compress(codec, codes) == (dictionary, frames)
    alone = sum(len(compress(codec, codes[row : row + 1])[1][0]) for row in range(0, 600, 6)) * 6
    assert len(dictionary) + sum(map(len, frames)) < 0.7 * alone
    assert compress(codec, codes[:5])[0] == b""  # too few to train one
    assert compress(codec, np.random.default_rng(0).integers(0, 391, (300, 64)).astype(np.uint16))[0] == b""


def test_rows_that_do_not_compress_take_little_more_than_their_plain_bytes() -> None:
    codec = build_codec("zstd", 512)
    _, frames = compress(codec, np.random.default_rng(0).integers(0, 512, (20, 1024)).astype(np.uint16))
    assert codec.plain_bytes(1024) == 1152 and max(map(len, frames)) <= 1152 + 14


def test_every_flipped_bit_of_a_frame_is_found() -> None:
    codec, codes = build_codec("zstd", 391), image_like(600, 64, 391)
    dictionary, frames = compress(codec, codes)
    start = len(frame_header(codec.plain_bytes(64)))  # those before it are compared by the reader of a store
    damaged = []
    for bit in range(8 * start, 8 * len(frames[3])):
        frame = bytearray(frames[3])
        frame[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(frame))
    assert dictionary and len(damaged) > 100
    decoded, sound = read(codec, dictionary, [frames[2], *damaged, frames[4]], 64)
    assert sound[0] and sound[-1] and sound.sum() <= 2 + 0.04 * len(damaged)
    expected = np.concatenate([codes[[2]], np.repeat(codes[[3]], len(damaged), axis=0), codes[[4]]])
    np.testing.assert_array_equal(decoded[sound], expected[sound])  # a bit that means nothing may change


def test_threads_share_a_reader() -> None:
    codec, codes = build_codec("zstd", 391), image_like(600, 64, 391)
    dictionary, frames = compress(codec, codes)
    reader, expected = FrameReader(dictionary), [row.tobytes() for row in codec.encode(codes)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(partial(decompressed, reader), frames * 5)) == expected * 5


@pytest.mark.parametrize("other", ["none", "another"])
def test_another_dictionary_is_found(other: str) -> None:
    codec, codes = build_codec("zstd", 391), image_like(600, 64, 391)
    dictionary, frames = compress(codec, codes)
    wrong = b"" if other == "none" else compress(codec, (codes + 100) % 391)[0]
    assert wrong != dictionary
    assert not read(codec, wrong, frames, 64)[1].any()


def test_damaged_dictionary_is_refused() -> None:
    dictionary, _ = compress(build_codec("zstd", 391), image_like(600, 64, 391))
    for content in (b"x" * 300, dictionary[:20], b"\0" + dictionary):
        with pytest.raises(ValueError, match="the dictionary is damaged"):
            FrameReader(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[:-1],
        lambda frame: frame + b"\0",
        lambda frame: frame + frame,
        lambda frame: frame[:8],
        lambda frame: frame[:7] + struct.pack("<I", 0xFFFFFF)[:3] + frame[10:],  # a block of 2 MiB
    ],
)
def test_frame_that_is_cut_off_or_continued_is_refused(change) -> None:
    codec, codes = build_codec("zstd", 391), image_like(600, 64, 391)
    dictionary, frames = compress(codec, codes)
    decoded, sound = read(codec, dictionary, [frames[0], change(frames[1]), frames[2]], 64)
    assert sound.tolist() == [True, False, True]
    np.testing.assert_array_equal(decoded[[0, 2]], codes[[0, 2]])
