"""Reading pickled modules without running them: an interpreter of pickle opcodes that makes data and nothing else.

Some weights are published as a whole pickled module, and many training scripts pickle their settings beside the
weights. Python's unpickler would import and call what such a file names. This one never does: every name of a class or
function becomes an inert mark, every call an inert record of it, and the few calls that describe tensors are carried
out here, on bytes read from the file's own storages, with every size checked.

The format is the zip file that `torch.save` writes (PyTorch 1.6 and later).
"""

import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_MOST_PICKLE_BYTES = 1 << 26  # a module's structure; the tensors' bytes lie beside it
_MOST_PARTS = 100_000
_MOST_STEPS = 1 << 21  # of the stream: an empty set is one byte in it, and some hundred here
_MOST_NAME = 1000  # characters; a stream can join and repeat long ones with a few bytes
_MOST_NUMBER = 1 << 63  # of a size or stride: products of numbers of any length take for ever
_STORAGE_TYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# What a damaged or hostile stream makes the steps below raise.
_ERRORS = (ValueError, TypeError, LookupError, OverflowError, ArithmeticError, RuntimeError, EOFError, AttributeError)
_ERRORS += (MemoryError, RecursionError, OSError, struct.error)


@dataclass(frozen=True, eq=False)
class InertName:
    """A class or function that a file names: its module and name as text, nothing behind them."""

    name: str


@dataclass(eq=False)
class Inert:
    """What a file would have made by calling `name`: the call's arguments, then what it would have put in.

    Attributes:
        name: What would have been called.
        args: Arguments of the call.
        state: Attributes that would have been set.
        items: Mapping entries that would have been set.
        elements: List or set elements that would have been added.
    """

    name: str
    args: tuple = ()
    state: Any = None
    items: dict = field(default_factory=dict)
    elements: list = field(default_factory=list)


@dataclass(eq=False)
class UnreadTensor(Inert):
    """A tensor of a kind that is not read here; the rest of its file is.

    Attributes:
        reason: Why not.
    """

    reason: str = ""


@dataclass(frozen=True, eq=False)
class _Storage:
    """A storage that the file names: its values, not yet read."""

    key: str
    kind: str
    dtype: torch.dtype | None  # None: a kind that is not read
    count: int


class _Mark:
    """Place on the stack where a group of values begins."""


_MARK = _Mark()


def load_inert(path: str | Path) -> Any:
    """Read a file of `torch.save`, executing nothing in it.

    Args:
        path: A zip file as PyTorch writes it.

    Returns:
        Dicts, lists, tuples, text, numbers and tensors as they are; everything else as `Inert` and `InertName`,
        among them `UnreadTensor` for tensors of kinds that no weights have.

    Raises:
        FileNotFoundError: Nothing lies at `path`.
        ValueError: The file is damaged, not such a zip file, or describes a tensor that its bytes do not hold.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    if not is_torch_zip(path):
        raise ValueError(f"{path} is not a zip file of torch.save (PyTorch 1.6 and later); load and save it with one")
    try:
        with zipfile.ZipFile(path) as archive:
            return _Interpreter(_Records(archive, path.stat().st_size)).run()
    except (*_ERRORS, zipfile.BadZipFile, NotImplementedError) as error:
        # The text of the error, not the error: it may hold values of the file, without end.
        raise ValueError(f"{path} cannot be read, and nothing in it was run: {str(error)[:300]}") from None


def is_torch_zip(path: str | Path) -> bool:
    """Whether a file begins as the zip files of `torch.save` do."""
    with Path(path).open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def weights_of_module(module: Inert) -> dict[str, Tensor | UnreadTensor]:
    """The state dict of a pickled `torch.nn.Module`, from its parameters, buffers and submodules.

    Raises:
        ValueError: It is no module, contains itself, or a parameter is not a tensor.
    """
    if not is_module(module):
        raise ValueError(f"{module.name} is not a pickled torch module: it has no _parameters and _modules")
    weights: dict[str, Tensor | UnreadTensor] = {}
    pending = [("", module)]
    for visited, (prefix, part) in enumerate(_drain(pending)):
        if max(visited, len(pending), len(weights)) > _MOST_PARTS or len(prefix) > _MOST_NAME:
            raise ValueError(f"module {module.name[:100]} has more than {_MOST_PARTS} parts, or contains itself")
        state = _attributes(part)
        for name, value in _own_tensors(state):
            if not isinstance(value, (Tensor, UnreadTensor)):
                raise ValueError(f"{prefix}{name} is a {_kind(value)}, not a plain tensor")
            weights[prefix + name] = value
        children = _table(state, "_modules")
        pending += [(f"{prefix}{name}.", child) for name, child in children.items() if child is not None]
    return weights


def is_module(value: Any) -> bool:
    """Whether this is a pickled module."""
    return isinstance(value, Inert) and {"_parameters", "_modules"} <= _attributes(value).keys()


def _drain(pending: list) -> Iterator[tuple[str, Inert]]:
    while pending:
        yield pending.pop()


def _attributes(value: Any) -> dict:
    """The attributes that were to be set on an object."""
    state = value.state if isinstance(value, Inert) else None
    if isinstance(state, tuple) and len(state) == 2:  # attributes, and slots
        state = state[0]
    return state if isinstance(state, dict) else {}


def _own_tensors(state: dict) -> list[tuple[str, Any]]:
    hidden = state.get("_non_persistent_buffers_set")
    hidden = [name for part in (*hidden.args, hidden.elements) for name in part] if isinstance(hidden, Inert) else []
    buffers = [(name, value) for name, value in _table(state, "_buffers").items() if name not in hidden]
    named = [*_table(state, "_parameters").items(), *buffers]
    return [(name, value) for name, value in named if value is not None]


def _table(state: dict, key: str) -> dict:
    table = state.get(key, {})
    if not isinstance(table, dict) or not all(isinstance(name, str) and len(name) <= _MOST_NAME for name in table):
        raise ValueError(f"{key} of a module is a {_kind(table)}, expected names and their values")
    return table


def _kind(value: Any) -> str:
    return value.name[:100] if isinstance(value, (Inert, InertName)) else type(value).__name__


class _Records:
    """The parts of a torch zip file: the pickle stream, and storages by their key."""

    def __init__(self, archive: zipfile.ZipFile, file_bytes: int) -> None:
        self._archive = archive
        self._bytes_left = file_bytes
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"a file of torch.save has one data.pkl, this one has {len(names)}")
        self._prefix = names[0].removesuffix("data.pkl")
        if f"{self._prefix}byteorder" in archive.namelist() and self._read(f"{self._prefix}byteorder", 16) != b"little":
            raise ValueError("its numbers are not little-endian")
        self.pickle = self._read(names[0], _MOST_PICKLE_BYTES)
        self._storages: dict[str, Tensor] = {}

    def values(self, storage: _Storage) -> Tensor:
        """The values of a storage, (count,)."""
        assert storage.dtype is not None
        if storage.key not in self._storages:
            name, size = f"{self._prefix}data/{storage.key}", storage.count * storage.dtype.itemsize
            content = self._read(name, size)
            if len(content) != size:
                raise ValueError(f"storage {storage.key[:40]} holds {len(content)} bytes where {size} are declared")
            values = torch.frombuffer(bytearray(content), dtype=storage.dtype) if size else torch.empty(0)
            self._storages[storage.key] = values.to(storage.dtype)
        values = self._storages[storage.key]
        if values.dtype != storage.dtype or len(values) != storage.count:
            raise ValueError(f"storage {storage.key[:40]} is declared twice, with different types or sizes")
        return values

    def _read(self, name: str, most: int) -> bytes:
        info = self._archive.getinfo(name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name[:80]} is compressed, which torch.save never does")
        if info.file_size > most:
            raise ValueError(f"{name[:80]} has {info.file_size} bytes, expected at most {most}")
        self._bytes_left -= info.file_size
        if self._bytes_left < 0:  # parts that lie on one another would fill the memory
            raise ValueError("its parts hold more bytes than the file has")
        return self._archive.read(name)


def _rebuild(storage: Any, offset: Any, size: Any, stride: Any, records: _Records) -> Tensor | UnreadTensor:
    """A tensor of the given layout on a storage, all of it inside; a mark if its kind is not read."""
    if not isinstance(storage, _Storage):
        raise ValueError(f"a tensor lies on a {_kind(storage)}, expected a storage")
    size, stride = tuple(size), tuple(stride)  # a dict of such keys may hold values without end
    layout = (offset, *size, *stride)
    numbers = all(type(number) is int and 0 <= number < _MOST_NUMBER for number in layout)
    if len(size) != len(stride) or len(size) > 32 or not numbers:
        raise ValueError("a tensor's offset, size or stride is not made of non-negative integers of 63 bits")
    if storage.dtype is None:
        return _unread(f"its storage type {storage.kind} is not known; save it as float32")
    count = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else 0
    if last >= max(storage.count, 1):
        raise ValueError(f"a tensor of size {size} reaches beyond its storage of {storage.count} values")
    if count > storage.count:  # a few bytes could stand for more values than the memory holds
        return _unread(
            f"its size {size} has strides {stride} that repeat the {storage.count} values of its storage, as expanded "
            "tensors do; save it contiguous"
        )
    return torch.as_strided(records.values(storage), size, stride, offset)


def _unread(reason: str) -> UnreadTensor:
    return UnreadTensor("torch.Tensor", reason=reason)


class _Interpreter:
    """Runs a pickle stream on a stack of inert values."""

    def __init__(self, records: _Records) -> None:
        self._records = records
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for step_number, (opcode, argument, _) in enumerate(pickletools.genops(self._records.pickle)):
            if step_number == _MOST_STEPS:
                raise ValueError(f"the pickle stream has more than {_MOST_STEPS} steps")
            if opcode.name == "STOP":
                return self._pop()
            if opcode.name in _PUSHES_ITS_ARGUMENT:
                self._stack.append(argument)
            elif opcode.name in _CONSTANTS:
                self._stack.append(_CONSTANTS[opcode.name]())
            elif opcode.name not in _NOTHING:
                step: Callable[[_Interpreter, Any], None] | None = _STEPS.get(opcode.name)
                if step is None:
                    raise ValueError(f"opcode {opcode.name} is not one that torch.save writes")
                step(self, argument)
        raise ValueError("the pickle stream has no end")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing from the stack")
        return value

    def _pop_group(self) -> list[Any]:
        """Everything since the last mark."""
        for place in range(len(self._stack) - 1, -1, -1):
            if self._stack[place] is _MARK:
                group = self._stack[place + 1 :]
                del self._stack[place:]
                return group
        raise ValueError("a mark is missing from the stack")

    def _top(self) -> Any:
        if self._stack[-1] is _MARK:
            raise ValueError("a value is missing from the stack")
        return self._stack[-1]

    def mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def pop(self, _: Any) -> None:
        self._stack.pop()

    def pop_mark(self, _: Any) -> None:
        self._pop_group()

    def duplicate(self, _: Any) -> None:
        self._stack.append(self._top())

    def put(self, place: int) -> None:
        self._memo[int(place)] = self._top()

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def get(self, place: int) -> None:
        self._stack.append(self._memo[int(place)])

    def tuple_of(self, count: int | None) -> None:
        if count is None:
            self._stack.append(tuple(self._pop_group()))
        else:
            self._stack.append(tuple([self._pop() for _ in range(count)][::-1]))

    def list_of_group(self, _: Any) -> None:
        self._stack.append(self._pop_group())

    def dict_of_group(self, _: Any) -> None:
        group, table = self._pop_group(), {}
        _set_items(table, group)
        self._stack.append(table)

    def set_of_group(self, _: Any) -> None:
        self._stack.append(Inert("builtins.frozenset", elements=self._pop_group()))

    def append(self, _: Any) -> None:
        value = self._pop()
        _add_elements(self._top(), [value])

    def appends(self, _: Any) -> None:
        group = self._pop_group()
        _add_elements(self._top(), group)

    def set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        _set_items(self._top(), [key, value])

    def set_items(self, _: Any) -> None:
        group = self._pop_group()
        _set_items(self._top(), group)

    def name(self, argument: str) -> None:
        self._stack.append(InertName(argument.replace(" ", ".", 1)))

    def name_of_stack(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("the name of a class or function is not text")
        if len(name) + len(module) > _MOST_NAME:
            raise ValueError(f"the name of a class or function has more than {_MOST_NAME} characters")
        self._stack.append(InertName(f"{module}.{name}"))

    def extension(self, code: int) -> None:
        self._stack.append(InertName(f"copyreg extension {code}"))

    def persistent(self, _: Any) -> None:
        self._stack.append(_storage_of(self._pop()))

    def persistent_text(self, _: Any) -> None:
        raise ValueError("a storage is named by a line of text, which torch.save never writes")

    def call(self, _: Any) -> None:
        args, what = self._pop(), self._pop()
        self._stack.append(self._called(what, args))

    def new_object(self, _: Any) -> None:
        args, what = self._pop(), self._pop()
        self._stack.append(_record_of(what, args))

    def new_object_with_keywords(self, _: Any) -> None:
        keywords, args, what = self._pop(), self._pop(), self._pop()
        made = _record_of(what, args)
        made.items["keywords"] = keywords
        self._stack.append(made)

    def instance(self, argument: str) -> None:
        self._stack.append(Inert(argument.replace(" ", ".", 1), tuple(self._pop_group())))

    def object_of_group(self, _: Any) -> None:
        group = self._pop_group()
        self._stack.append(_record_of(group[0], tuple(group[1:])))

    def build(self, _: Any) -> None:
        state, target = self._pop(), self._top()
        # What has attributes beside its values, such as a state dict's metadata, is read without them.
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, (dict, list, Tensor)):
            raise ValueError(f"attributes are set on a {_kind(target)}")

    def _called(self, what: Any, args: Any) -> Any:
        name = what.name if isinstance(what, InertName) else None
        if name == "collections.OrderedDict" and args == ():
            return {}
        if name == "torch._utils._rebuild_tensor_v2":
            return _rebuild(*args[:4], self._records)
        if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return args[0]
        if name == "torch._tensor._rebuild_from_type_v2":  # a buffer, or a tensor with attributes
            return self._called(args[0], args[2])
        if name is not None and name.startswith("torch._utils._rebuild_"):
            return _unread(f"it is made by {name[:100]}, which is not read; save it as a dense float32 tensor")
        return _record_of(what, args)


def _record_of(what: Any, args: Any) -> Inert:
    """The call as a record; an inert result that is called gives one more record."""
    if not isinstance(what, (InertName, Inert)) or not isinstance(args, tuple):
        raise ValueError(f"a {_kind(what)} is called with a {_kind(args)}; expected a name and a tuple")
    return Inert(what.name if isinstance(what, InertName) else f"{what.name[:200]}()", args)


def _storage_of(identity: Any) -> _Storage:
    """The storage that a persistent id names: ("storage", type, key, device, count)."""
    if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
        raise ValueError("a persistent id is not that of a storage")
    _, kind, key, _, count = identity
    if not isinstance(kind, InertName):
        raise ValueError(f"the type of a storage is a {_kind(kind)}, expected a name")
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a storage's key is not text, or its size not a number")
    return _Storage(key, _kind(kind), _STORAGE_TYPES.get(kind.name.removeprefix("torch.")), count)


def _set_items(target: Any, group: list[Any]) -> None:
    """Put keys and values, in turn, into a dict or an inert record."""
    table = target.items if isinstance(target, Inert) else target
    if not isinstance(table, dict) or len(group) % 2:
        raise ValueError(f"entries are set on a {_kind(target)}")
    for key, value in zip(group[::2], group[1::2], strict=True):
        # Nested keys are kept by identity: to hash a tuple a million deep would end the process.
        plain = isinstance(key, (str, int, float, bytes, type(None), Inert, InertName))
        table[key if plain else Inert("key", (key,))] = value


def _add_elements(target: Any, values: list[Any]) -> None:
    elements = target.elements if isinstance(target, Inert) else target
    if not isinstance(elements, list):
        raise ValueError(f"elements are added to a {_kind(target)}")
    elements.extend(values)


_NOTHING = ("PROTO", "FRAME")
# fmt: off
_PUSHES_ITS_ARGUMENT = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
))
# fmt: on
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": lambda: Inert("builtins.set"),
}
_STEPS: dict[str, Callable[[_Interpreter, Any], None]] = {
    "MARK": _Interpreter.mark,
    "POP": _Interpreter.pop,
    "POP_MARK": _Interpreter.pop_mark,
    "DUP": _Interpreter.duplicate,
    "PUT": _Interpreter.put,
    "BINPUT": _Interpreter.put,
    "LONG_BINPUT": _Interpreter.put,
    "MEMOIZE": _Interpreter.memoize,
    "GET": _Interpreter.get,
    "BINGET": _Interpreter.get,
    "LONG_BINGET": _Interpreter.get,
    "TUPLE": lambda self, _: self.tuple_of(None),
    "TUPLE1": lambda self, _: self.tuple_of(1),
    "TUPLE2": lambda self, _: self.tuple_of(2),
    "TUPLE3": lambda self, _: self.tuple_of(3),
    "LIST": _Interpreter.list_of_group,
    "DICT": _Interpreter.dict_of_group,
    "FROZENSET": _Interpreter.set_of_group,
    "APPEND": _Interpreter.append,
    "APPENDS": _Interpreter.appends,
    "ADDITEMS": _Interpreter.appends,
    "SETITEM": _Interpreter.set_item,
    "SETITEMS": _Interpreter.set_items,
    "GLOBAL": _Interpreter.name,
    "STACK_GLOBAL": _Interpreter.name_of_stack,
    "EXT1": _Interpreter.extension,
    "EXT2": _Interpreter.extension,
    "EXT4": _Interpreter.extension,
    "BINPERSID": _Interpreter.persistent,
    "PERSID": _Interpreter.persistent_text,
    "REDUCE": _Interpreter.call,
    "NEWOBJ": _Interpreter.new_object,
    "NEWOBJ_EX": _Interpreter.new_object_with_keywords,
    "INST": _Interpreter.instance,
    "OBJ": _Interpreter.object_of_group,
    "BUILD": _Interpreter.build,
}
