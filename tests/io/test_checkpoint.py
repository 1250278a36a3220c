"""Checkpoint files are data: reading them runs nothing, and names and shapes are checked."""

import os
import re
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seitpp.io.checkpoint import (
    check_finite,
    check_state_dict,
    forbid_pickled_code,
    load_checkpoint_file,
    save_torch,
    save_weights,
    state_dict_of,
)
from seitpp.io.text import shorten


def tensors(**shapes: tuple[int, ...]) -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


class Payload:
    """Would create a folder when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def test_tensors_and_plain_types_are_read(tmp_path: Path) -> None:
    content = {"state_dict": {"a": torch.arange(3.0)}, "meta": {"epoch": 3, "names": ["x", None, True]}}
    torch.save(content, tmp_path / "a.pth")
    found = load_checkpoint_file(str(tmp_path / "a.pth"))
    assert found["meta"] == content["meta"] and torch.equal(found["state_dict"]["a"], torch.arange(3.0))


def test_what_the_runner_writes_is_read(tmp_path: Path) -> None:
    from mmengine.logging import MessageHub

    hub = MessageHub("test_what_the_runner_writes_is_read")
    hub.update_scalar("train/loss", 1.0)
    torch.save({"message_hub": hub.state_dict(), "state_dict": tensors(a=(2,))}, tmp_path / "a.pth")
    assert set(load_checkpoint_file(tmp_path / "a.pth")) == {"message_hub", "state_dict"}


def test_missing_checkpoint_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"checkpoint {tmp_path / 'a.pth'} does not exist")):
        load_checkpoint_file(tmp_path / "a.pth")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": tensors(a=(2,)), "args": Payload(tmp_path / "ran")}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"nothing in it was run: it wants posix\.mkdir to be run"):
        load_checkpoint_file(tmp_path / "a.pth")
    assert not (tmp_path / "ran").exists()


def test_objects_in_a_checkpoint_are_refused(tmp_path: Path) -> None:
    torch.save({"args": Path("somewhere")}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="Ask its maker for a state dict"):
        load_checkpoint_file(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04", b"\x80\x02"])
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(f"checkpoint {tmp_path / 'a.pth'} ")):
        load_checkpoint_file(tmp_path / "a.pth")


def test_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save(tensors(a=(50, 3)), tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    for length in range(0, len(content), 61):
        (tmp_path / "a.pth").write_bytes(content[:length])
        with pytest.raises(ValueError, match=re.escape(f"checkpoint {tmp_path / 'a.pth'} ")):
            load_checkpoint_file(tmp_path / "a.pth")


def test_forbidding_code_binds_every_later_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")  # so that it is put back afterwards
    torch.save(Payload(tmp_path / "ran"), tmp_path / "a.pth")
    forbid_pickled_code()
    with pytest.raises(Exception, match="weights_only"):
        torch.load(tmp_path / "a.pth", weights_only=None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", [None, "state_dict", "model", "module"])
def test_weights_are_found(key: str | None) -> None:
    weights = tensors(a=(2,), b=(3,))
    assert state_dict_of(weights if key is None else {key: weights, "epoch": 3}, "x.pth") == weights


def test_prefix_of_a_parallel_wrapper_is_removed() -> None:
    assert list(state_dict_of({"model": {"module.a": torch.zeros(2), "b.module.c": torch.zeros(2)}}, "x.pth")) == [
        "a",
        "b.module.c",
    ]


@pytest.mark.parametrize("checkpoint", [{}, {"state_dict": {}}, [torch.zeros(2)], torch.zeros(2)])
def test_checkpoint_without_weights_is_refused(checkpoint: object) -> None:
    with pytest.raises(ValueError, match=r"checkpoint x\.pth holds no weights; expected a dict of tensors"):
        state_dict_of(checkpoint, "x.pth")


def test_entries_that_are_no_tensors_are_named() -> None:
    with pytest.raises(ValueError, match="entries that are not tensors: epoch, name"):
        state_dict_of({"a": torch.zeros(2), "epoch": 3, "name": "x"}, "x.pth")


def test_names_are_shortened_after_the_limit() -> None:
    assert shorten("abc") == "a, b, c"
    assert shorten("abc", 3) == "a, b, c"
    assert shorten(iter("abcde"), 3) == "a, b, c and 2 more"


def test_weights_that_fit_pass() -> None:
    check_state_dict(tensors(a=(2, 3), b=(4,)), tensors(a=(2, 3), b=(4,)), "x.pth")


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(
        ValueError,
        match=r"checkpoint x\.pth does not fit the model: wrong shapes: a \(3, 2\) where the model has \(2, 3\)$",
    ):
        check_state_dict(tensors(a=(3, 2), b=(4,)), tensors(a=(2, 3), b=(4,)), "x.pth")


def test_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"does not fit the model: missing keys: b, c$"):
        check_state_dict(tensors(a=(2,)), tensors(a=(2,), b=(4,), c=(1,)), "x.pth")


def test_keys_may_be_missing_where_allowed() -> None:
    with pytest.raises(ValueError, match=r"missing keys: c$"):
        check_state_dict(tensors(a=(2,)), tensors(a=(2,), b=(4,), c=(1,)), "x.pth", may_miss=("b",))
    check_state_dict(tensors(a=(2,)), tensors(a=(2,), b=(4,), c=(1,)), "x.pth", may_miss=iter(["b", "c"]))


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"does not fit the model: unknown keys: b$"):
        check_state_dict(tensors(a=(2,), b=(4,)), tensors(a=(2,)), "x.pth")


def test_unknown_keys_pass_where_allowed() -> None:
    check_state_dict(tensors(a=(2,), b=(4,)), tensors(a=(2,)), "x.pth", may_exceed=["b"])


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"wrong shapes: a \(3,\).*; missing keys: b; unknown keys: c$"):
        check_state_dict(tensors(a=(3,), c=(1,)), tensors(a=(2,), b=(4,)), "x.pth")


def test_checkpoint_of_another_model_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"no key in common with the model; it holds x, y, the model expects a\. Is it another model's"
    ):
        check_state_dict(tensors(x=(2,), y=(2,)), tensors(a=(2,)), "x.pth", may_exceed=["x", "y"])


def test_resizable_names_may_differ_in_the_number_of_places() -> None:
    found, expected = tensors(pos_embed=(1, 197, 8)), tensors(pos_embed=(1, 50, 8))
    check_state_dict(found, expected, "x.pth", resizable=("pos_embed",))
    with pytest.raises(ValueError, match="wrong shapes"):
        check_state_dict(found, expected, "x.pth")


@pytest.mark.parametrize("shape", [(1, 50, 9), (2, 50, 8), (50, 8)])
def test_resizable_names_may_not_differ_otherwise(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="wrong shapes: pos_embed"):
        check_state_dict(
            tensors(pos_embed=shape), tensors(pos_embed=(1, 50, 8)), "x.pth", resizable=iter(["pos_embed"])
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_weights_that_are_not_finite_are_named(value: float, dtype: torch.dtype) -> None:
    weights = tensors(a=(2,), b=(2, 3), c=(4,))
    weights["b"] = weights["b"].to(dtype)
    weights["b"][1, 2] = weights["c"][0] = value
    with pytest.raises(ValueError, match=r"^x\.pth holds values that are NaN or infinite in b, c \(1 of 6 in b\)"):
        check_finite(weights, "x.pth")


def test_finite_weights_and_integers_pass() -> None:
    check_finite({**tensors(a=(2,), b=()), "steps": torch.tensor(2**40), "mask": torch.ones(3, dtype=torch.bool)}, "x")


def test_weights_that_are_not_finite_do_not_fit() -> None:
    broken = tensors(a=(2,), b=(4,))
    broken["b"][1] = float("nan")
    with pytest.raises(ValueError, match=r"^checkpoint x\.pth holds values that are NaN or infinite in b \(1 of 4"):
        check_state_dict(broken, tensors(a=(2,), b=(4,)), "x.pth")
    check_state_dict(broken, tensors(a=(2,)), "x.pth", may_exceed=["b"])


def test_tables_that_are_infinite_in_the_model_may_be_so_in_the_file() -> None:
    mask = torch.zeros(2, 2).fill_(-torch.inf).triu(1)
    check_state_dict({"a": torch.ones(2), "mask": mask}, {"a": torch.zeros(2), "mask": mask.clone()}, "x.pth")
    with pytest.raises(ValueError, match=r"NaN or infinite in a \(2 of 2 in a\)"):
        check_state_dict({"a": torch.ones(2) / 0, "mask": mask}, {"a": torch.zeros(2), "mask": mask}, "x.pth")
    with torch.device("meta"), pytest.raises(ValueError, match=r"NaN or infinite in a \(2 of 2 in a\)"):
        check_state_dict({"a": torch.ones(2, device="cpu") / 0}, {"a": torch.zeros(2)}, "x.pth")


@pytest.mark.parametrize(("wide", "narrow"), [(torch.float64, torch.float32), (torch.float32, torch.float16)])
def test_values_beyond_the_range_of_the_model_are_named(wide: torch.dtype, narrow: torch.dtype) -> None:
    expected = {"a": torch.zeros(2, dtype=narrow), "b": torch.zeros(2, dtype=narrow)}
    fine = {"a": torch.ones(2, dtype=wide), "b": torch.ones(2, dtype=narrow)}
    check_state_dict(fine, expected, "x.pth")
    beyond = {**fine, "a": torch.full((2,), torch.finfo(wide).max, dtype=wide)}
    with pytest.raises(ValueError, match=rf"x\.pth holds values beyond the range of the model's {narrow}: a$"):
        check_state_dict(beyond, expected, "x.pth")


@pytest.mark.parametrize("entry", [3, None, "x", [1.0]])
def test_entries_that_are_no_tensors_do_not_fit(entry: object) -> None:
    with pytest.raises(ValueError, match=r"checkpoint x\.pth holds entries that are not tensors: b$"):
        check_state_dict({**tensors(a=(2,)), "b": entry}, tensors(a=(2,), b=(4,)), "x.pth")


def test_whole_numbers_in_place_of_weights_are_named() -> None:
    with pytest.raises(ValueError, match=r"wrong kinds of number: a torch\.int64 where the model has torch\.float32"):
        check_state_dict({"a": torch.zeros(2, dtype=torch.int64)}, tensors(a=(2,)), "x.pth")
    check_state_dict({"a": torch.zeros(2, dtype=torch.float16)}, tensors(a=(2,)), "x.pth")


@pytest.mark.parametrize("key", [3, None, ("a", "b"), 2.5])
def test_keys_that_are_no_names_are_refused(key: object, tmp_path: Path) -> None:
    torch.save({"state_dict": {key: torch.zeros(2)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth holds tensors under keys that are no names: "):
        state_dict_of(load_checkpoint_file(tmp_path / "a.pth"), tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: torch.eye(3).to_sparse(), "made by torch._utils._rebuild_sparse_tensor"),
        (lambda: torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8), "made by torch._utils._rebuild_qtensor"),
        (lambda: torch.empty(3, device="meta"), "made by torch._utils._rebuild_meta_tensor_no_storage"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "its storage type torch.ComplexFloatStorage is not known"),
        (lambda: torch.zeros(1).expand(3, 4), r"has strides \(0, 0\) that repeat the 1 values"),
        (lambda: torch.zeros(3).to(torch.float8_e4m3fn), "its storage type torch.float8_e4m3fn is not known"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning", "ignore:.*[sS]parse.*:UserWarning")
def test_tensors_that_no_weights_are_are_refused_by_name(make: Any, reason: str, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2), "b.weight": make()}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"state_dict\.b\.weight is a tensor that cannot be read: .*{reason}"):
        load_checkpoint_file(tmp_path / "a.pth")


def test_tensors_that_no_weights_are_are_refused_in_memory() -> None:
    odd = {
        "s": torch.eye(3).to_sparse(),
        "m": torch.empty(3, device="meta"),
        "c": torch.zeros(3, dtype=torch.complex64),
    }
    with pytest.raises(ValueError, match="sparse, quantised, complex or without values: s, m, c; save them dense"):
        state_dict_of({"a": torch.ones(2), **odd}, "x.pth")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_what_is_no_file_is_refused(make: Any, name: str, tmp_path: Path) -> None:
    make(tmp_path / name)
    with pytest.raises(ValueError, match=rf"checkpoint .*{name} (is a pipe|is a folder|cannot be opened)"):
        load_checkpoint_file(tmp_path / name)


@pytest.mark.parametrize("in_zip", [True, False])
def test_every_damage_of_a_checkpoint_is_refused_or_without_effect(in_zip: bool, tmp_path: Path) -> None:
    """Bytes flipped all over the file: of a zip file everything that is read has a checksum."""
    content = {"meta": {"epoch": 3, "rate": 0.5}, "state_dict": {"a": torch.arange(40.0), "b": torch.ones(3, 5)}}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=in_zip)
    whole = (tmp_path / "a.pth").read_bytes()
    outcomes = Counter()
    for place in range(0, len(whole), 5):
        (tmp_path / "a.pth").write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            found = load_checkpoint_file(tmp_path / "a.pth")
        except ValueError as error:
            assert str(error).startswith(f"checkpoint {tmp_path / 'a.pth'} "), error
            outcomes["refused"] += 1
        else:
            same = isinstance(found, dict) and found.get("meta") == content["meta"] and "state_dict" in found
            same = same and all(torch.equal(found["state_dict"][name], content["state_dict"][name]) for name in "ab")
            outcomes["identical" if same else "wrong"] += 1
    assert outcomes["refused"] and (outcomes["wrong"] == 0 or not in_zip), outcomes


def deep(levels: int) -> list:
    nested: list = []
    for _ in range(levels):
        nested = [nested]
    return nested


def test_deep_checkpoint_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.pth").open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    with pytest.raises(ValueError, match=r"a\.pth cannot be read.*nested more than 100 levels deep"):
        load_checkpoint_file(tmp_path / "a.pth")
    torch.save({"meta": deep(50)}, tmp_path / "a.pth")
    assert load_checkpoint_file(tmp_path / "a.pth") == {"meta": deep(50)}


def test_checkpoint_that_doubles_at_each_level_is_refused(tmp_path: Path) -> None:
    nested: list = [1]
    for _ in range(60):
        nested = [nested, nested]
    torch.save({"meta": nested}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth cannot be read.*holds more than 1048576 values"):
        load_checkpoint_file(tmp_path / "a.pth")


def test_storage_of_a_huge_declared_size_takes_no_memory(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(5)}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pth").read_bytes()
    count = content.rindex(struct.pack("<q", 5))
    (tmp_path / "a.pth").write_bytes(content[:count] + struct.pack("<q", 2**40) + content[count + 8 :])
    with pytest.raises(ValueError, match="has 1099511627776 values where 5 are declared"):
        load_checkpoint_file(tmp_path / "a.pth")


def test_checksums_are_compared_unless_the_file_has_none(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        torch.save({"a": torch.arange(30.0)}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert torch.equal(load_checkpoint_file(tmp_path / "a.pth")["a"], torch.arange(30.0))
    torch.save({"a": torch.arange(30.0)}, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[content.index(struct.pack("<f", 17.0))] ^= 4
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pth cannot be read.*Bad CRC-32"):
        load_checkpoint_file(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["full.pth", "full.safetensors"])
@pytest.mark.parametrize("save", [lambda path, weights: save_weights(path, weights, {}), save_torch])
def test_full_disk_is_named_and_the_old_file_stays(save: Any, name: str, tmp_path: Path, little_disk: None) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(OSError, match=rf"cannot write, File too large: '.*{name}'"):
        save(tmp_path / name, {"a": torch.zeros(1_000_000)})
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_bytes() == b"old"
