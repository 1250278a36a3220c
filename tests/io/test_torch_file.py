"""Files of `torch.save` give back what was saved, in both formats, and nothing that is not plain."""

import datetime
import io
import os
import pickle
import re
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from seitpp.io.torch_file import load_torch_file

PLAIN = {
    "ordered": OrderedDict(a=1, b=[2.5, None, True]),
    "counter": Counter("abracadabra"),
    "set": {1, "a", (2, "b")},
    "frozen": frozenset({3}),
    "bytes": b"ab\xff",
    "no bytes": b"",
    "bytearray": bytearray(b"xy\x00"),
    "complex": 1.5 - 2j,
    "slice": slice(1, None, 2),
    "size": torch.Size([2, 3]),
    "device": torch.device("cpu"),
    "second device": torch.device("cuda", 1),
    "dtype": torch.bfloat16,
    "large": 2**70,
    "negative": -(2**40),
    "text": "naïve \ud800",
    "keys": {1: "a", None: "b", (2, "c"): "d", 2.5: "e", b"f": "g"},
}
ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "empty": np.zeros((0, 3), np.float16),
    "scalar array": np.array(7, np.uint8),
    "truth": np.array([True, False]),
    "text": np.array(["ab", "cde"]),
    "number": np.float32(2.5),
    "whole": np.int64(-3),
    "word": np.str_("word"),
}
TENSORS = {
    **{str(kind): torch.arange(4).to(kind) for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int8)},
    **{str(kind): torch.arange(4).to(kind) for kind in (torch.uint8, torch.uint16, torch.uint32, torch.uint64)},
    "bool": torch.tensor([True, False, True]),
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 3),
    "transposed": torch.arange(6.0).view(2, 3).T,
    "parameter": nn.Parameter(torch.ones(2)),
    "buffer": nn.Buffer(torch.ones(2)),
}
TENSORS["with attributes"] = torch.ones(3)
TENSORS["with attributes"].note = "text"


def saved(content: Any, in_zip: bool, protocol: int = 2) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file, pickle_protocol=protocol, _use_new_zipfile_serialization=in_zip)
    return file


@pytest.mark.parametrize("in_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("inert", [True, False])
def test_what_was_saved_is_read(in_zip: bool, protocol: int, inert: bool) -> None:
    content = {"plain": PLAIN, "arrays": ARRAYS, "tensors": TENSORS}
    found = load_torch_file(saved(content, in_zip, protocol), inert=inert)
    assert found["plain"] == PLAIN
    assert [type(value) for value in found["plain"].values()] == [type(value) for value in PLAIN.values()]
    for name, value in ARRAYS.items():
        again = found["arrays"][name]
        assert type(again) is type(value) and again.dtype == value.dtype and again.shape == value.shape, name
        assert again.tobytes() == value.tobytes(), name
    for name, value in TENSORS.items():
        again = found["tensors"][name]
        assert type(again) is Tensor and again.dtype == value.dtype and torch.equal(again, value), name


@pytest.mark.parametrize("in_zip", [True, False])
def test_views_share_their_storage(in_zip: bool) -> None:
    base = torch.arange(6.0)
    found = load_torch_file(saved({"whole": base, "part": base[2:4], "again": base}, in_zip))
    found["whole"][3] = 100
    assert found["part"].tolist() == [2, 100] and found["again"][3] == 100


def test_versions_of_modules_stay_with_a_state_dict() -> None:
    weights = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).state_dict()
    found = load_torch_file(saved(weights, True))
    assert type(found) is OrderedDict and found._metadata == weights._metadata and found._metadata["1"]["version"] == 2
    weights._metadata["x"] = {"version": "not a number", "y": 3}
    assert "x" not in load_torch_file(saved(weights, True))._metadata


class Call:
    """Pickles as a call, and then has attributes set."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


@pytest.mark.parametrize("in_zip", [True, False])
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Path("a"), "pathlib"),
        (datetime.date(2020, 1, 2), r"datetime\.date"),
        (np.array([Path("a")], object), r"numpy\._?core|pathlib"),
        (np.array([(1, 2)], [("a", "i4"), ("b", "i4")]), r"numpy\._?core"),
        (nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear"),
        (Exception("x"), r"builtins\.Exception"),
        (len, r"builtins\.len"),
        (Counter, "Counter"),
        (Call(Counter, ([1, 2],)), r"collections\.Counter"),
        (Call(set, ([[1]],)), "a set|is a builtins|key"),
        (Call(torch.device, ("cpu" * 50,)), r"torch\.device"),
        ({(((1,),),): 2}, "a key of it is a key"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_is_not_plain_is_named(value: Any, what: str, in_zip: bool) -> None:
    with pytest.raises(ValueError, match=rf"a file holds more than tensors and plain types: .*({what})"):
        load_torch_file(saved({"x": value} if not isinstance(value, dict) else value, in_zip), what="a file")


@pytest.mark.parametrize(
    "state",
    [
        {"_log_history": np.zeros(2), "_count_history": np.zeros(3), "max_length": 10},
        {"_log_history": np.zeros((2, 2)), "_count_history": np.zeros((2, 2)), "max_length": 10},
        {"_log_history": np.zeros(3), "_count_history": np.zeros(3), "max_length": 2},
        {"_log_history": np.zeros(2), "_count_history": np.zeros(2), "max_length": -5},
        {"_log_history": [1.0], "_count_history": [1.0], "max_length": 10},
        {},
        None,
    ],
)
def test_histories_of_other_content_are_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="a history of the runner's log does not hold two rows of numbers"):
        load_torch_file(saved(Call(HistoryBuffer, (), state or 7), True))


def test_statistics_of_a_history_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HistoryBuffer, "_statistics_methods", dict(HistoryBuffer._statistics_methods))
    history = HistoryBuffer([1.0, 3.0], [1, 1])
    content = pickle.dumps(history, 2).replace(b"X\x04\x00\x00\x00mean", b"X\x04\x00\x00\x00sneak"[:9])
    assert load_torch_file(saved({"h": history}, True))["h"].statistics("mean") == 2
    assert b"getattr" in content and "sneak" not in HistoryBuffer._statistics_methods


@pytest.mark.parametrize("name", ["tar", "zip of one file", "empty zip", "text", "nothing"])
def test_other_files_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    if name.endswith("zip") or name.startswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            if name != "empty zip":
                archive.writestr("net.pth", saved({"a": torch.ones(1)}, False).getvalue())
    else:
        path.write_bytes({"tar": b"x" * 257 + b"ustar" + bytes(250), "text": b"weights\n", "nothing": b""}[name])
    with pytest.raises(ValueError, match=r"a\.pth cannot be read, and nothing in it was run: (it does|a file)"):
        load_torch_file(path)


def test_file_of_a_machine_with_other_numbers_is_refused() -> None:
    content = saved({"a": torch.ones(1)}, False).getvalue()
    stream = re.sub(rb"(?s)(little_endianq.)\x88", b"\\1\x89", content)
    assert stream != content
    with pytest.raises(ValueError, match="its numbers are not little-endian"):
        load_torch_file(io.BytesIO(stream))


def test_tensors_go_to_the_device() -> None:
    found = load_torch_file(saved({"a": torch.ones(2), "b": 3}, True), device="meta")
    assert found["a"].is_meta and found["b"] == 3


def test_truncated_legacy_file_is_refused(tmp_path: Path) -> None:
    content = saved({"a": torch.arange(30.0), "b": torch.ones(5)}, False).getvalue()
    for length in range(0, len(content), 7):
        with pytest.raises(ValueError, match="cannot be read, and nothing in it was run"):
            load_torch_file(io.BytesIO(content[:length]))
    assert os.listdir(tmp_path) == []
