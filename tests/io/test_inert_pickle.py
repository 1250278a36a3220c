"""The inert reader: real modules of torch, and files that try to run something or to exhaust the reader."""

import contextlib
import copyreg
import io
import os
import pickle
import struct
import sys
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seitpp.io import inert_pickle
from seitpp.io.inert_pickle import Inert, InertName
from seitpp.io.pickled_modules import is_module, weights_of_module
from seitpp.io.plain_objects import UnreadTensor
from seitpp.io.torch_file import load_torch_file

PROTOCOL_2 = b"\x80\x02"


def load_inert(path: Path) -> Any:
    return load_torch_file(path, inert=True)


def write_zip(path: Path, stream: bytes, storages: dict[str, bytes] | None = None, compression: int = 0) -> Path:
    """A file as torch writes it, with this pickle stream."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", stream)
        archive.writestr("archive/byteorder", b"little")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def load_stream(stream: bytes, tmp_path: Path, storages: dict[str, bytes] | None = None) -> Any:
    return load_inert(write_zip(tmp_path / "a.pth", stream, storages))


def refusal(stream: bytes, tmp_path: Path, storages: dict[str, bytes] | None = None) -> str:
    with pytest.raises(ValueError, match="cannot be read, and nothing in it was run: ") as caught:
        load_stream(stream, tmp_path, storages)
    return str(caught.value)


# Real files.


class Settings:
    """Something that no state dict holds."""

    def __init__(self) -> None:
        self.ratio = 0.5


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.nothing = None
        self.register_parameter("absent", None)
        self.register_buffer("table", torch.arange(6.0).view(2, 3).T)  # not contiguous
        self.register_buffer("passing", torch.ones(1), persistent=False)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.norm = nn.BatchNorm1d(2)
        self.tied = self.blocks[0].linear
        self.settings = Settings()
        self.halved = nn.Parameter(torch.randn(3).half(), requires_grad=False)
        self.brained = nn.Parameter(torch.randn(3).bfloat16())
        self.register_buffer("mask", torch.tensor([True, False]))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_module_of_an_unknown_class_gives_its_state_dict(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Network()
    torch.save(module, tmp_path / "a.pth", pickle_protocol=protocol)
    monkeypatch.setattr(sys.modules[Network.__module__], "Network", None)  # the class is not there any more
    value = load_inert(tmp_path / "a.pth")
    assert is_module(value) and value.name.endswith(".Network")
    weights = weights_of_module(value)
    expected = module.state_dict()
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        assert weights[name].dtype == tensor.dtype and torch.equal(weights[name], tensor), name


def test_training_checkpoint_gives_its_plain_parts(tmp_path: Path) -> None:
    weights = nn.Linear(3, 2).state_dict()
    content = {
        "state_dict": weights,
        "callbacks": {Settings: Settings()},
        "epoch": 7,
        "rates": [0.1, 1e-4],
        "nested": OrderedDict(a=(1, None, True)),
        "device": torch.device("cpu"),
    }
    torch.save(content, tmp_path / "a.pth")
    found = load_inert(tmp_path / "a.pth")
    assert found["epoch"] == 7 and found["rates"] == [0.1, 1e-4] and found["nested"] == {"a": (1, None, True)}
    ((key, value),) = found["callbacks"].items()
    assert isinstance(key, InertName) and isinstance(value, Inert) and value.state == {"ratio": 0.5}
    assert found["device"] == torch.device("cpu")
    assert all(torch.equal(found["state_dict"][name], tensor) for name, tensor in weights.items())


def test_views_of_one_storage_and_empty_tensors_are_what_they_were(tmp_path: Path) -> None:
    base = torch.arange(24.0).view(4, 6)
    content = {
        "row": base[2],
        "part": base[1:3, ::2],
        "whole": base,
        "empty": torch.zeros(0, 3),
        "one": torch.tensor(2),
    }
    torch.save(content, tmp_path / "a.pth")
    found = load_inert(tmp_path / "a.pth")
    assert all(torch.equal(found[name], value) and found[name].shape == value.shape for name, value in content.items())


# Files that want to run something.


class Attack:
    """Pickles as the call of any function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


def attacks(target: Path) -> dict[str, Any]:
    code = f"open({str(target)!r}, 'w').close()"
    return {
        "system": Attack(os.system, (f"touch {target}",)),
        "eval": Attack(eval, (code,)),
        "exec": Attack(exec, (code,)),
        "open": Attack(open, (str(target), "w")),
        "mkdir": Attack(os.mkdir, (str(target),)),
        "import": Attack(__import__, ("antigravity",)),
        "nested": Attack(eval, (Attack(str, (code,)),)),
        "getattr": Attack(getattr, (Settings, "x", None)),
        "setstate": Attack(Settings, (), {"__setstate__": 3, "x": Attack(os.mkdir, (str(target),))}),
        "items": Attack(dict, (), None, None, iter([(Attack(os.mkdir, (str(target),)), 1)])),
        "partial": Attack(__import__("functools").partial, (os.mkdir, str(target))),
        "map": Attack(map, (eval, [code])),
    }


# Calls that make data, or may: they are read past, and not made.
_HARMLESS = ("getattr", "setstate", "items", "partial")


@pytest.mark.parametrize("name", attacks(Path("x")))
@pytest.mark.parametrize("where", ["alone", "beside weights", "in a module"])
@pytest.mark.parametrize("in_zip", [True, False])
def test_nothing_that_a_file_names_is_run(name: str, where: str, in_zip: bool, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    attack = attacks(target)[name]
    if name in ("setstate", "items"):
        attack.call = (*attack.call[:-1], target if name == "setstate" else iter([(1, target)]))
    module = nn.Linear(2, 2)
    module.extra = attack
    content = {"alone": attack, "beside weights": {"x": attack, "w": torch.ones(2)}, "in a module": module}[where]
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=in_zip)
    if name not in _HARMLESS:
        with pytest.raises(
            ValueError, match=r"a\.pth cannot be read, and nothing in it was run: it wants .* to be run"
        ):
            load_inert(tmp_path / "a.pth")
    else:
        found = load_inert(tmp_path / "a.pth")
        if where == "alone":
            assert isinstance(found, Inert)
        elif where == "beside weights":
            assert torch.equal(found["w"], torch.ones(2))
        else:
            assert torch.equal(weights_of_module(found)["weight"], module.weight)
    assert os.listdir(tmp_path) == ["a.pth"] and "antigravity" not in sys.modules


SYSTEM = b"cmine\nsystem\n"


@pytest.mark.parametrize(
    ("stream", "name"),
    [
        (SYSTEM + b"(S'touch ran'\ntR.", "mine.system"),  # GLOBAL, REDUCE
        (b"(S'touch ran'\nimine\nsystem\n.", "mine.system"),  # INST
        (b"(" + SYSTEM + b"S'touch ran'\no.", "mine.system"),  # OBJ
        (PROTOCOL_2 + SYSTEM + b"(S'touch ran'\nt\x81.", "mine.system"),  # NEWOBJ
        (b"\x80\x04" + SYSTEM + b"(S'touch ran'\nt}\x92.", "mine.system"),  # NEWOBJ_EX
        (b"\x80\x04\x8c\x04mine\x8c\x06system\x93(S'touch ran'\ntR.", "mine.system"),  # STACK_GLOBAL
        (b"\x80\x04\x8c\x02my\x8c\x10path.os.system.x\x93)R.", "my.path.os.system.x"),  # a dotted name
        (b"cmine\nmake\n(S'x'\ntR(S'touch ran'\ntR.", "mine.make()"),  # a call's result
        (PROTOCOL_2 + b"\x82\x07)R.", "copyreg extension 7"),  # EXT1
        (SYSTEM + b"(S'touch ran'\ntR}S'__setstate__'\n" + SYSTEM + b"sb.", "mine.system"),  # BUILD
    ],
    ids=["reduce", "inst", "obj", "newobj", "newobj_ex", "stack_global", "dotted", "result", "extension", "build"],
)
def test_every_way_to_call_gives_an_inert_record(
    stream: bytes, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = load_stream(stream, tmp_path)
    assert isinstance(found, Inert) and found.name == name
    assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.parametrize(
    "stream",
    [
        b"cposix\nsystem\n(S'touch ran'\ntR.",
        b"(S'touch ran'\niposix\nsystem\n.",
        b"(cos\nsystem\nS'touch ran'\no.",
        PROTOCOL_2 + b"c__builtin__\neval\n(S'1'\nt\x81.",
        b"\x80\x04\x8c\x02os\x8c\x0bpath.system\x93(S'touch ran'\ntR.",
        b"cbuiltins\ngetattr\n(cos\npath\nS'x'\ntR(S'touch ran'\ntR.",
        b"cposix\nsystem\n(S'touch ran'\ntR0}.",  # taken off the stack again
    ],
)
@pytest.mark.parametrize("inert", [True, False])
def test_files_that_want_to_act_are_refused(stream: bytes, inert: bool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"nothing in it was run: .* the file is hostile"):
        load_torch_file(write_zip(tmp_path / "a.pth", stream), inert=inert)
    assert os.listdir(tmp_path) == ["a.pth"]


@pytest.mark.parametrize(
    "made",
    [
        b"ctorch\ndevice\n(S'cpu'\ntR",  # torch's own can be called, as a decorator
        b"ctorch._utils\n_rebuild_tensor_v2\n(tR",  # torch's own takes a storage of any size as its state
        b"cnumpy\ndtype\n(S'f8'\ntR",
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\ntR",
        b"ccollections\nOrderedDict\n)R",
        b"cmmengine.logging.history_buffer\nHistoryBuffer\n)R",
    ],
)
def test_objects_of_the_table_are_records_while_a_pickle_is_read(made: bytes) -> None:
    stream = made + SYSTEM + b"\x85R" + made + b"}S'__class__'\nI1\nsb\x86."
    unpickler = inert_pickle.InertUnpickler(inert_pickle.BoundedStream(io.BytesIO(stream), len(stream)), lambda _: None)
    called, given_attributes = unpickler.load()
    assert type(called) is type(given_attributes) is Inert
    assert called.name.endswith("()") and given_attributes.state == {"__class__": 1}


def test_registered_extensions_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(copyreg._extension_cache, 7, os.mkdir)
    found = load_stream(PROTOCOL_2 + b"\x82\x07(S'ran'\ntR.", tmp_path)
    assert isinstance(found, Inert) and os.listdir(tmp_path) == ["a.pth"]


def test_names_are_not_looked_up(tmp_path: Path) -> None:
    found = load_stream(b"cseitpp_no_such_module\nThing\n.", tmp_path)
    assert isinstance(found, InertName) and found.name == "seitpp_no_such_module.Thing"
    assert "seitpp_no_such_module" not in sys.modules


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"S'a'\n)R.", "'str' object is not callable"),
        (SYSTEM + b"S'a'\nR.", "a mine.system is called with a str"),
        (b"I1\nI2\nb.", "'int' object has no attribute"),
        (SYSTEM + b"}b.", "attributes are set on a mine.system"),
        (SYSTEM + b"}}\x86b.", "attributes are set on a mine.system"),
        (SYSTEM + b"I1\na.", "'InertName' object has no attribute 'append'"),
        (b"}N}I1\nI2\ns\x86b.", "attribute name must be string"),
        (b"}N}S'a'\nI2\ns\x86b.", "'dict' object has no attribute 'a'"),
        (b"}I1\nI2\ns)\x81.", "'dict' object is not callable"),
        (b"(}I1\no.", "'dict' object"),
        (b"\x80\x05\x96" + b"\xff" * 5 + b"\x00\x00\x00.", "makes no sense (KeyError"),  # a bytearray of a terabyte
        (b"](I1\nI2\nu.", "makes no sense (IndexError"),
        (b"}(I1\nu.", "makes no sense (IndexError"),
        (b"}I1\na.", "'dict' object has no attribute 'append'"),
        (b"I1\nt.", "makes no sense (IndexError"),
        (b"(.", "makes no sense (IndexError"),
        (b"(2.", "makes no sense (IndexError"),
        (b".", "pop from empty list"),
        (b"g7\n.", "7"),
        (b"Pline\n.", "a persistent id is not that of a storage"),
        (b"\x80\x05\x97.", "no *buffers* argument was given"),
        (b"\x80\x04I1\nI2\n\x93.", "STACK_GLOBAL requires str"),
        (b"I1\n", "the pickle stream ends early: 1 bytes"),
        (b"\xff\xff.", "makes no sense (KeyError"),
        (b"", "the pickle stream ends early: 1 bytes"),
        (b"X\xff\xff\xff\x7fabc.", "the pickle stream ends early: 2147483647 bytes are declared"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "the pickle stream ends early: 9223372036854775807 bytes"),
        (b"I" + b"9" * 5000 + b"\n.", "4300"),
        (b"(cbuiltins\nint\nI3\n\x85Q.", "a persistent id is not that of a storage"),
    ],
)
def test_streams_that_make_no_sense_are_refused(stream: bytes, message: str, tmp_path: Path) -> None:
    assert any(part in refusal(stream, tmp_path) for part in message.split("|"))


# Memory and time.


def test_memo_of_a_huge_number_takes_no_memory(tmp_path: Path) -> None:
    stream = b"I5\nr" + struct.pack("<I", 2**32 - 1) + b"0j" + struct.pack("<I", 2**32 - 1) + b"."
    assert load_stream(stream, tmp_path) == 5


def test_memo_can_hold_what_contains_it(tmp_path: Path) -> None:
    found = load_stream(b"]q\x00h\x00a.", tmp_path)  # a list that is its own element
    assert found[0] is found


def test_keys_nested_too_deep_for_the_stack_are_not_hashed(tmp_path: Path) -> None:
    found = load_stream(PROTOCOL_2 + b"}I1\n" + b"\x85" * 200_000 + b"I2\ns.", tmp_path)
    assert list(found.values()) == [2]


@pytest.mark.parametrize(
    "nested",
    [
        b"]" * 100_000 + b"a" * 99_999,
        b"N" + b"\x85" * 200_000,
        b"cmine\nmake\nq\x00" + b"h\x00" * 5_000 + b"N" + b"\x85R" * 5_000,
    ],
    ids=["lists", "tuples", "calls"],
)
@pytest.mark.parametrize("inert", [True, False])
def test_deep_nesting_is_refused(nested: bytes, inert: bool, tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", PROTOCOL_2 + nested + b".")
    with pytest.raises(ValueError, match="it is nested more than 100 levels deep"):
        load_torch_file(path, inert=inert)


def test_doubling_keys_are_not_hashed(tmp_path: Path) -> None:
    found = load_stream(PROTOCOL_2 + b"}I1\n" + b"2\x86" * 60 + b"I2\ns.", tmp_path)
    assert list(found.values()) == [2]


@pytest.mark.parametrize("call", [b"R", b"\x81", b"}\x92", b")R", b"b", b"a"])
def test_doubling_values_are_not_printed(call: bytes, tmp_path: Path) -> None:
    for doubling in (b"N" + b"2\x86" * 60, b"cmine\nmake\n)R" + b"2b" * 60):
        with contextlib.suppress(ValueError):
            load_stream(PROTOCOL_2 + doubling + b"I1\n" + call + b".", tmp_path)


def test_names_do_not_grow_with_nested_calls(tmp_path: Path) -> None:
    found = load_stream(SYSTEM + b")R" * 10_000 + b".", tmp_path)
    assert len(found.name) < 300


def test_stream_of_very_many_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inert_pickle, "_MOST_READS", 1000)  # 64 MiB of empty sets would take 16 GiB
    assert "more than 1000 parts" in refusal(PROTOCOL_2 + b"\x8f" * 2000 + b".", tmp_path)
    assert load_stream(PROTOCOL_2 + b"\x8f" * 997 + b".", tmp_path) == set()


def test_long_texts_are_not_joined_to_names_again_and_again(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 600) + b"a" * 600
    assert "more than 1000 characters" in refusal(PROTOCOL_2 + text + b"q\x00h\x00\x93.", tmp_path)


def test_long_names_of_modules_are_refused() -> None:
    leaf = Inert("leaf", state={"_parameters": {}, "_modules": {}})
    with pytest.raises(ValueError, match="_modules of a module is a dict"):
        weights_of_module(Inert("top", state={"_parameters": {}, "_modules": {"a" * 1001: leaf}}))


def module_stream(inner: bytes) -> bytes:
    """A module whose one child is pushed by `inner`, at memo 0 itself."""
    opening = b"cmine\nNet\n)\x81q\x00}(U\x0b_parameters}U\x08_modules}U\x05child"
    return PROTOCOL_2 + opening + inner + b"sub."


def test_module_that_contains_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contains itself"):
        weights_of_module(load_stream(module_stream(b"h\x00"), tmp_path))


def test_modules_that_double_at_each_level_are_refused(tmp_path: Path) -> None:
    parts = [Inert("leaf", state={"_parameters": {}, "_modules": {}})]
    for _ in range(60):
        parts.append(Inert("pair", state={"_parameters": {}, "_modules": {"a": parts[-1], "b": parts[-1]}}))
    with pytest.raises(ValueError, match="more than 100000 parts"):
        weights_of_module(parts[-1])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_parameters": {"w": 3}, "_modules": {}}, "w is a int, not a plain tensor"),
        ({"_parameters": [], "_modules": {}}, "_parameters of a module is a list"),
        ({"_parameters": {3: torch.ones(1)}, "_modules": {}}, "_parameters of a module is a dict"),
        ({"_parameters": {}}, "is not a pickled torch module"),
        (7, "is not a pickled torch module"),
        ({"_parameters": {}, "_modules": {"a": 3}}, None),
    ],
)
def test_modules_of_wrong_parts_are_refused_or_empty(state: Any, message: str | None) -> None:
    module = Inert("mine.Net", state=state)
    if message is None:
        assert weights_of_module(module) == {}
    else:
        with pytest.raises(ValueError, match=message):
            weights_of_module(module)


# Tensors and storages.


def tensor_stream(
    kind: str = "FloatStorage",
    key: str = "0",
    count: int = 6,
    offset: Any = 0,
    size: Any = (2, 3),
    stride: Any = (3, 1),
) -> bytes:
    """A tensor as torch pickles it, with any of the parts replaced."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return ("storage", getattr(torch, kind), key, "cpu", count) if value == "the storage" else None

    buffer = io.BytesIO()
    args = ("the storage", offset, size, stride, False, OrderedDict())
    Pickler(buffer, 2).dump(Attack(torch._utils._rebuild_tensor_v2, args))
    return buffer.getvalue()


SIX = {"0": struct.pack("<6f", *range(6))}


def test_stream_of_the_helper_is_a_tensor(tmp_path: Path) -> None:
    found = load_stream(tensor_stream(), tmp_path, SIX)
    assert isinstance(found, Tensor) and torch.equal(found, torch.arange(6.0).view(2, 3))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (dict(size=(2, 4)), "reaches beyond its storage of 6 values"),
        (dict(offset=1), "reaches beyond its storage"),
        (dict(stride=(4, 1)), "reaches beyond its storage"),
        (dict(size=(2**62,), stride=(1,)), "reaches beyond its storage"),
        (dict(size=(2**800_000,) * 32, stride=(0,) * 32), "not made of non-negative integers of 63 bits"),
        (dict(offset=-1), "not made of non-negative integers"),
        (dict(size=(-2, 3)), "not made of non-negative integers"),
        (dict(stride=(3, 1, 1)), "not made of non-negative integers"),
        (dict(size=(2.0, 3)), "not made of non-negative integers"),
        (dict(size=(True, 3)), "not made of non-negative integers"),
        (dict(size=(1,) * 40, stride=(1,) * 40), "not made of non-negative integers"),
        (dict(size=7), "int"),
        (dict(count=7), "24 bytes where 28 are declared"),
        (dict(count=5, size=(5,), stride=(1,)), "24 bytes where 20 are declared"),
        (dict(count=10**15), "24 bytes where 4000000000000000 are declared"),
        (dict(count=-1), "its size not a number"),
        (dict(key="1"), "no item named 'archive/data/1'"),
        (dict(key="../data.pkl"), "no item named"),
        (dict(kind="DoubleStorage"), "24 bytes where 48 are declared"),
    ],
)
def test_tensors_that_the_file_does_not_hold_are_refused(parts: dict, message: str, tmp_path: Path) -> None:
    assert message in refusal(tensor_stream(**parts), tmp_path, SIX)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (dict(kind="ComplexFloatStorage"), "storage type torch.ComplexFloatStorage is not known"),
        (dict(size=(10**12, 10**12), stride=(0, 0)), "strides (0, 0) that repeat the 6 values of its storage"),
    ],
)
def test_tensors_of_other_kinds_are_marks(parts: dict, reason: str, tmp_path: Path) -> None:
    found = load_stream(tensor_stream(**parts), tmp_path, SIX)
    assert isinstance(found, UnreadTensor) and reason in found.reason


def test_layouts_with_doubling_values_are_not_written_out(tmp_path: Path) -> None:
    nested: Any = ()
    for _ in range(60):
        nested = (nested, nested)
    found = load_stream(tensor_stream(size={7: nested, 3: 0}, stride={0: nested, 1: 0}), tmp_path, SIX)
    assert isinstance(found, UnreadTensor) and len(found.reason) < 300
    assert "reaches beyond" in refusal(tensor_stream(size={7: nested}, stride=(1,)), tmp_path, SIX)


def test_tensors_that_nobody_needs_do_not_stop_the_others(tmp_path: Path) -> None:
    odd = {
        "complex": torch.zeros(2, dtype=torch.complex64),
        "float8": torch.zeros(2).to(torch.float8_e4m3fn),
        "expanded": torch.zeros(1).expand(3, 4),
        "sparse": torch.eye(3).to_sparse(),
    }
    torch.save({**odd, "w": torch.ones(2)}, tmp_path / "a.pth")
    found = load_inert(tmp_path / "a.pth")
    assert torch.equal(found.pop("w"), torch.ones(2))
    assert found.keys() == odd.keys() and all(isinstance(value, UnreadTensor) for value in found.values())


def test_storage_that_is_no_storage_is_refused(tmp_path: Path) -> None:
    stream = b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI0\n(I1\nt(I1\nttR."
    assert "lies on a int" in refusal(stream, tmp_path)


# The zip file.


def test_what_is_no_zip_file_of_torch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pth does not exist"):
        load_inert(tmp_path / "none.pth")
    (tmp_path / "a.pth").write_bytes(b"\x80\x02N.")
    with pytest.raises(ValueError, match=r"a\.pth cannot be read.*it does not begin as a file of torch\.save does"):
        load_inert(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(ValueError, match=r"has one data\.pkl, this one has 0"):
        load_inert(tmp_path / "b.pth")


def test_compressed_parts_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pth", b"N." + b"\0" * 10_000_000, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"is compressed, which torch\.save never does"):
        load_inert(path)


def test_more_bytes_than_the_file_has_are_not_read(tmp_path: Path) -> None:
    """A storage that lies within the bytes of another one, as zip bombs have it."""
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/1", bytes(40_000))
    hidden = path.read_bytes()[: 30 + len("archive/data/1") + 40_000]
    parts = [tensor_stream(key=key, count=count // 4)[2:-1] for key, count in (("0", len(hidden)), ("1", 40_000))]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PROTOCOL_2 + b"".join(parts) + b"\x86.")
        archive.writestr("archive/data/0", hidden)
        inner, outer = zipfile.ZipInfo("archive/data/1"), archive.getinfo("archive/data/0")
        inner.file_size = inner.compress_size = 40_000
        inner.CRC = zlib.crc32(bytes(40_000))
        inner.header_offset = outer.header_offset + 30 + len(outer.filename)
        archive.filelist.append(inner)
    with pytest.raises(ValueError, match=r"a\.pth cannot be read.*(more bytes than the file has|[Oo]verlapped)"):
        load_inert(path)


def damaged(change: Callable[[bytearray], Any], path: Path) -> Path:
    torch.save({"a": torch.arange(100.0)}, path)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7, 0.9])
def test_truncated_file_is_refused(place: float, tmp_path: Path) -> None:
    path = damaged(lambda content: content.__delitem__(slice(int(len(content) * place), None)), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth"):
        load_inert(path)


def test_damaged_directory_is_refused(tmp_path: Path) -> None:
    def change(content: bytearray) -> None:
        locator = content.rindex(b"PK\x06\x07")
        content[locator + 16] = 7  # a part of seven disks

    with pytest.raises(ValueError, match=r"a\.pth"):
        load_inert(damaged(change, tmp_path / "a.pth"))


def test_flipped_byte_in_a_tensor_is_noticed(tmp_path: Path) -> None:
    def flip(content: bytearray) -> None:
        content[content.index(struct.pack("<f", 57.0))] ^= 1

    with pytest.raises(ValueError, match="Bad CRC-32"):
        load_inert(damaged(flip, tmp_path / "a.pth"))


def test_big_endian_numbers_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", b"N.")
        archive.writestr("archive/byteorder", b"big")
    with pytest.raises(ValueError, match="not little-endian"):
        load_inert(tmp_path / "a.pth")
