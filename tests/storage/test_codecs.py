"""Codecs of fixed width: exact sizes, the documented bit order, and codes that survive."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seitpp.storage import BitPackedCodec, RawCodec, ZstdCodec, build_codec, code_dtype
from seitpp.storage.codecs import codec_from_header, codec_to_header, samples_at_a_time


def reference_pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Bit packing as the documentation words it, one bit at a time."""
    packed = np.zeros((len(codes), math.ceil(codes.shape[1] * bits / 8)), np.uint8)
    for row, values in enumerate(codes.tolist()):
        for i, code in enumerate(values):
            for k in range(bits):
                position = i * bits + k
                packed[row, position // 8] |= (code >> k & 1) << position % 8
    return packed


@given(
    name=st.sampled_from(["bitpacked", "raw"]),
    codebook_size=st.integers(1, 2**18) | st.sampled_from([2**b + d for b in range(1, 18) for d in (0, 1)]),
    num_rows=st.integers(0, 5),
    num_codes=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
)
def test_codes_survive_codecs_of_fixed_width(
    name: str, codebook_size: int, num_rows: int, num_codes: int, seed: int
) -> None:
    codec = build_codec(name, codebook_size)
    codes = np.random.default_rng(seed).integers(0, codebook_size, (num_rows, num_codes))
    codes[:, -1:] = codebook_size - 1
    rows = codec.encode(codes.astype(code_dtype(codebook_size)))
    bits = max(1, math.ceil(math.log2(codebook_size)))
    width = 1 if codebook_size <= 256 else 2 if codebook_size <= 65536 else 4
    size = math.ceil(num_codes * bits / 8) if name == "bitpacked" else num_codes * width
    assert rows.dtype == np.uint8 and rows.shape == (num_rows, size) and size == codec.row_bytes(num_codes)
    decoded = codec.decode(rows, num_codes)
    assert decoded.dtype == code_dtype(codebook_size)
    np.testing.assert_array_equal(decoded, codes)


@pytest.mark.parametrize("bits", range(1, 19))
@pytest.mark.parametrize("num_codes", [1, 8, 13])
def test_bit_order_is_the_documented_one(bits: int, num_codes: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (3, num_codes)).astype(np.int32)
    np.testing.assert_array_equal(BitPackedCodec(bits).encode(codes), reference_pack(codes, bits))


def test_worked_example_of_the_documentation() -> None:
    assert BitPackedCodec.for_codebook(5).encode(np.array([[1, 4, 3, 2]])).tolist() == [[0xE1, 0x04]]


def test_more_rows_than_a_chunk_are_decoded() -> None:
    codes = np.random.default_rng(0).integers(0, 391, (300, 1024)).astype(np.uint16)
    codec = BitPackedCodec(9)
    np.testing.assert_array_equal(codec.decode(codec.encode(codes), 1024), codes)


def test_raw_is_little_endian() -> None:
    assert RawCodec("uint16").encode(np.array([[1, 258]])).tolist() == [[1, 0, 2, 1]]


def test_decoded_codes_are_writable_copies() -> None:
    rows = np.zeros((1, 4), np.uint8)
    rows.flags.writeable = False
    for codec in (RawCodec("uint8"), BitPackedCodec(8)):
        codec.decode(rows, 4)[:] = 1
    assert not rows.any()


@pytest.mark.parametrize(("size", "dtype"), [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")])
def test_code_dtype_is_the_smallest(size: int, dtype: str) -> None:
    assert code_dtype(size) == np.dtype(dtype)


@pytest.mark.parametrize("size", [0, -1, 2**18 + 1, 4.0, True])
def test_bad_codebook_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"codebook_size is .*, expected an integer in 1\.\.262144"):
        build_codec("raw", size)


def test_unknown_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="codec is 'zip', expected one of bitpacked, raw, zstd"):
        build_codec("zip", 4)


def test_codec_header_round_trip_and_contradiction() -> None:
    entry = codec_to_header(build_codec("bitpacked", 391))
    assert entry == {"name": "bitpacked", "bits": 9}
    assert codec_from_header(entry, 391) == BitPackedCodec(9)
    assert codec_to_header(build_codec("zstd", 391, 3)) == {"name": "zstd", "bits": 9}
    assert codec_from_header({"name": "zstd", "bits": 9}, 391, 3) == ZstdCodec(9, 3)
    with pytest.raises(ValueError, match=r"expected .*'bits': 10"):
        codec_from_header(entry, 1000)


@pytest.mark.parametrize(("num_codes", "samples"), [(1, 4096), (1024, 4096), (196_608, 85), (2**30, 1)])
def test_batches_are_bounded_in_samples_and_codes(num_codes: int, samples: int) -> None:
    assert samples_at_a_time(num_codes) == samples
