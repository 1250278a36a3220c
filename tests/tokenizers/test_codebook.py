"""Codebook files, their identity, and the nearest-code searches."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.golden import load_golden
from seitpp.storage import StoreWriter
from seitpp.tokenizers import codebook as codebook_module
from seitpp.tokenizers.codebook import (
    codebook_sha256,
    load_codebook,
    nearest_codes,
    nearest_codes_euclidean,
    save_codebook,
)

SEARCHES = [nearest_codes, nearest_codes_euclidean]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def slow_scores(search: Callable, vectors: Tensor, table: Tensor) -> np.ndarray:
    """What `search` minimises, in float64 and one code at a time: (rows, K)."""
    rows, codes = vectors.double().numpy().reshape(-1, vectors.shape[-1]), table.double().numpy()
    if search is nearest_codes:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        codes = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    return np.stack([((rows - code) ** 2).sum(axis=1) for code in codes], axis=1)


@pytest.mark.parity
@pytest.mark.parametrize(("codes", "margin"), [("out/codes", "out/margin"), ("out/z_codes", "out/z_margin")])
def test_recorded_codes(codes: str, margin: str) -> None:
    golden = load_golden("codes.npz")
    table, expected = torch.from_numpy(golden["in/codebook"]), golden[codes]
    if codes == "out/codes":
        vectors = torch.from_numpy(golden["in/x"]).permute(0, 2, 3, 1)
    else:
        vectors = torch.from_numpy(golden["in/z"]).view(*expected.shape, -1)
    found = nearest_codes(vectors, table).numpy()
    clear = golden[margin] >= 1e-5  # below that float32 cannot tell the two nearest rows apart
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], expected[clear])


@pytest.mark.parity
def test_recorded_codes_look_up_the_rows_as_they_are() -> None:
    golden = load_golden("codes.npz")
    rows = golden["in/codebook"][golden["out/z_codes"]]
    np.testing.assert_array_equal(np.moveaxis(rows, -1, 1), golden["out/z_tokens"])


@pytest.mark.parity
def test_recorded_codes_of_the_rows_themselves() -> None:
    golden = load_golden("codes.npz")
    table = torch.from_numpy(golden["in/codebook"])
    np.testing.assert_array_equal(nearest_codes(table, table).numpy(), golden["out/self_codes"])


@pytest.mark.parametrize("search", SEARCHES)
@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 60), dims=st.integers(2, 12), rows=st.integers(0, 40), seed=st.integers(0, 999))
def test_search_equals_brute_force(search: Callable, size: int, dims: int, rows: int, seed: int) -> None:
    vectors, table = normal(rows, dims, seed=seed), normal(size, dims, seed=seed + 1)
    found = search(vectors, table).numpy()
    scores = slow_scores(search, vectors, table)
    best = scores.min(axis=1) if rows else np.zeros(0)
    np.testing.assert_allclose(scores[np.arange(rows), found], best, atol=1e-5)
    clear = (np.sort(scores, axis=1)[:, 1] - best > 1e-4) if size > 1 else np.ones(rows, dtype=bool)
    np.testing.assert_array_equal(found[clear], scores.argmin(axis=1)[clear])


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("chunk_rows", [1, 7, 60, 1000])
def test_chunking_changes_nothing(search: Callable, chunk_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, table = normal(3, 4, 5, 8), normal(50, 8, seed=1)
    expected = search(vectors, table)
    monkeypatch.setattr(codebook_module, "_CPU_SCORE_ELEMENTS", 50 * chunk_rows // torch.get_num_threads())
    assert torch.equal(search(vectors, table), expected)


@pytest.mark.parametrize("search", SEARCHES)
def test_default_chunks_are_small_and_cover_all_rows(search: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, table = normal(23, 8), normal(50, 8, seed=1)
    expected, chunks = search(vectors, table), []
    argmax = codebook_module._argmax_last
    monkeypatch.setattr(codebook_module, "_argmax_last", lambda scores: chunks.append(len(scores)) or argmax(scores))
    monkeypatch.setattr(codebook_module, "_CPU_SCORE_ELEMENTS", 200)  # four rows a chunk and thread
    assert torch.equal(search(vectors, table), expected)
    assert sum(chunks) == 23 and max(chunks) <= 4 * torch.get_num_threads()


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(("size", "dims"), [(7, 3), (50, 8), (391, 32)])
def test_ties_go_to_the_lowest_code(search: Callable, size: int, dims: int) -> None:
    table = normal(size, dims)
    vectors = normal(300, dims, seed=1)
    assert torch.equal(search(vectors, torch.cat((table, table, table))), search(vectors, table))


def test_length_of_vectors_and_rows_does_not_matter_to_the_cosine_search() -> None:
    vectors, table = normal(200, 8), normal(50, 8, seed=1)
    scaled = nearest_codes(vectors * 2.0 ** torch.arange(-3, 5).repeat(25)[:, None], table)
    assert torch.equal(scaled, nearest_codes(vectors, table * 4))


def test_length_of_rows_matters_to_the_euclidean_search() -> None:
    table = torch.tensor([[1.0, 0.0], [4.0, 0.0]])
    assert nearest_codes_euclidean(torch.tensor([[2.0, 0.0], [3.0, 0.0]]), table).tolist() == [0, 1]


@pytest.mark.parametrize("search", SEARCHES)
def test_autocast_changes_no_code(search: Callable) -> None:
    vectors, table = normal(2, 30, 30, 32), normal(391, 32, seed=1)
    expected = search(vectors, table)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = vectors @ torch.nn.functional.normalize(table, dim=-1).T
        assert plain.dtype == torch.bfloat16 and not torch.equal(plain.argmax(dim=-1), nearest_codes(vectors, table))
        assert torch.equal(search(vectors, table), expected)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_search_computes_in_float32(search: Callable, dtype: torch.dtype) -> None:
    vectors, table = normal(60, 8).to(dtype), normal(50, 8, seed=1)
    assert torch.equal(search(vectors, table), search(vectors.float(), table))


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (0,)])
def test_codes_take_the_leading_shape(search: Callable, shape: tuple[int, ...]) -> None:
    codes = search(normal(*shape, 8), normal(50, 8, seed=1))
    assert codes.shape == shape and codes.dtype == torch.int64


@pytest.mark.parametrize("search", SEARCHES)
def test_search_takes_vectors_with_a_gradient(search: Callable) -> None:
    assert not search(normal(4, 8).requires_grad_(), normal(50, 8, seed=1)).requires_grad


def test_sha256_is_of_little_endian_float32_rows() -> None:
    table = normal(5, 3)
    expected = hashlib.sha256(table.numpy().astype("<f4").tobytes()).hexdigest()
    assert codebook_sha256(table) == codebook_sha256(table.double().numpy()) == expected
    assert codebook_sha256(table.T.contiguous().T) == expected
    assert codebook_sha256(table.flip(0)) != expected


@pytest.mark.parametrize("name", ["codebook.npy", "codebook.ckpt"])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_saved_codebook_is_read_back(tmp_path: Path, name: str, kind: str) -> None:
    table = normal(5, 3)
    save_codebook(tmp_path / name, table if kind == "tensor" else table.numpy())
    found = load_codebook(tmp_path / name)
    assert found.dtype == np.float32 and found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, table.numpy())
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_codebook_of_another_float_type_becomes_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    table = normal(5, 3).to(dtype)
    torch.save(torch.nn.Parameter(table), tmp_path / "codebook.ckpt")
    found = load_codebook(str(tmp_path / "codebook.ckpt"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, table.float().numpy())


def write_store(path: Path, codebook: np.ndarray | None) -> Path:
    with StoreWriter(path, codebook_size=5, grid=(2, 2), tokenizer={"name": "toy"}, codebook=codebook) as writer:
        writer.append(np.zeros((1, 2, 2), dtype=np.int64))
    return path


def test_codebook_is_read_from_a_store(tmp_path: Path) -> None:
    table = normal(5, 3).numpy()
    np.testing.assert_array_equal(load_codebook(write_store(tmp_path / "store", table)), table)


def test_store_without_codebook_is_refused(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store", None)
    with pytest.raises(ValueError, match="carries no codebook; name a codebook file"):
        load_codebook(path)


def test_missing_codebook_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"codebook {tmp_path / 'none.npy'} does not exist; point")):
        load_codebook(tmp_path / "none.npy")


@pytest.mark.parametrize("name", ["codebook.npy", "codebook.ckpt"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(5), r"holds a float32 array of shape \(5,\); expected floats \(K, D\)"),
        (torch.zeros(2, 5, 3), r"shape \(2, 5, 3\)"),
        (torch.zeros(0, 3), r"shape \(0, 3\)"),
        (torch.zeros(5, 3, dtype=torch.int64), r"holds a int64 array of shape \(5, 3\)"),
    ],
)
def test_codebook_of_a_wrong_form_is_refused(tmp_path: Path, name: str, values: Tensor, message: str) -> None:
    path = tmp_path / name
    if path.suffix == ".npy":
        np.save(path, values.numpy())
    else:
        torch.save(values, path)
    with pytest.raises(ValueError, match=message):
        load_codebook(path)


def test_codebook_that_is_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"embedding.weight": torch.zeros(5, 3)}, tmp_path / "codebook.ckpt")
    with pytest.raises(ValueError, match="holds a dict; expected one plain tensor"):
        load_codebook(tmp_path / "codebook.ckpt")


class Payload:
    """Would create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["a.npy", "a.ckpt"])
def test_values_beyond_float32_are_refused(name: str, tmp_path: Path) -> None:
    rows = np.full((3, 2), 1e300)
    np.save(tmp_path / name, rows) if name == "a.npy" else torch.save(torch.from_numpy(rows), tmp_path / name)
    with pytest.raises(ValueError, match=rf"codebook .*{name} holds values that are not finite as float32"):
        load_codebook(tmp_path / name)


@pytest.mark.parametrize("name", ["full.npy", "full.ckpt"])
def test_full_disk_is_named_and_the_old_file_stays(name: str, tmp_path: Path, little_disk: None) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(OSError, match=rf"cannot write, File too large: '.*{name}'"):
        save_codebook(tmp_path / name, np.zeros((20_000, 32), np.float32))
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == b"old"


def test_code_in_a_codebook_is_not_run(tmp_path: Path) -> None:
    torch.save(Payload(tmp_path / "ran"), tmp_path / "codebook.ckpt")
    with pytest.raises(ValueError, match=r"nothing in it was run: it wants posix\.mkdir to be run"):
        load_codebook(tmp_path / "codebook.ckpt")
    assert not (tmp_path / "ran").exists()
    torch.save(tmp_path, tmp_path / "codebook.ckpt")
    with pytest.raises(ValueError, match=r"carries code or objects, which is refused \(nothing in it was run\)"):
        load_codebook(tmp_path / "codebook.ckpt")


def test_code_in_an_npy_codebook_is_not_run(tmp_path: Path) -> None:
    np.save(tmp_path / "codebook.npy", np.array([Payload(tmp_path / "ran")], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"codebook\.npy is damaged or is not a \.npy file of plain numbers"):
        load_codebook(tmp_path / "codebook.npy")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["codebook.npy", "codebook.ckpt"])
@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x80\x02]q\x00."])
def test_file_that_is_no_codebook_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"codebook {tmp_path / name} ")):
        load_codebook(tmp_path / name)


@pytest.mark.parametrize("name", ["codebook.npy", "codebook.ckpt"])
def test_truncated_codebook_is_refused(tmp_path: Path, name: str) -> None:
    save_codebook(tmp_path / name, normal(50, 3))
    content = (tmp_path / name).read_bytes()
    for length in range(0, len(content), 61):
        (tmp_path / name).write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"codebook {tmp_path / name} ")):
            load_codebook(tmp_path / name)


def test_damaged_codebook_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "codebook.ckpt"
    save_codebook(path, normal(50, 3))
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place, bit in zip(rng.integers(len(content), size=200), rng.integers(8, size=200), strict=True):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            load_codebook(path)
        except ValueError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 0
