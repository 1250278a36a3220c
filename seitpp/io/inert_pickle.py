"""Pickle streams read as data: what a stream names is never imported, and what it calls is never called.

Checkpoints are pickles, and Python's unpickler imports and calls what a pickle names. The reader here keeps its parsing
and replaces every step that would look something up, call it, hash it, or set attributes of it. The written-out Python
class is the base, as joblib's and cloudpickle's readers have it: the one in C offers no way to replace those steps.
"""

import _compat_pickle
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

_MOST_READS = 1 << 22  # of the stream, two or so a step: an empty set is one byte in it, and some hundred here
_MOST_NAME = 1000  # characters; a stream can join and repeat long ones with a few bytes
_PLAIN = (str, int, float, bool, bytes, type(None))
# Modules and built-in functions that no data is made with. Nothing is run either way; a file that names them is refused
# so that nobody takes it for sound.
# fmt: off
_ACTING = frozenset((
    "os", "posix", "nt", "subprocess", "sys", "shutil", "importlib", "runpy", "pty", "socket", "ctypes", "_ctypes",
    "code", "codeop", "marshal", "multiprocessing", "webbrowser", "pickle", "_pickle", "timeit", "pdb", "bdb", "trace",
    "profile", "cProfile", "doctest", "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__",
    "builtins.open", "builtins.input", "builtins.breakpoint", "builtins.map", "builtins.filter", "builtins.globals",
    "builtins.vars", "builtins.setattr", "builtins.delattr", "builtins.getattr()", "torch.load", "torch.hub",
    "io.open", "io.FileIO", "_io.open", "_io.FileIO",
))
# fmt: on


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
        memo_index: Where the stream remembers it.
    """

    name: str
    args: tuple = ()
    state: Any = None
    items: dict = field(default_factory=dict)
    elements: list = field(default_factory=list)
    memo_index: int | None = field(default=None, repr=False)


def kind_of(value: Any) -> str:
    """The type of a value, or the name of an inert one, for messages."""
    return value.name[:100] if isinstance(value, (Inert, InertName)) else type(value).__name__


def refuse_acting(name: str) -> None:
    """Raise `ValueError` if calling `name` would act on the machine instead of making data."""
    parts = name.split(".")
    if parts[0] in _ACTING or ".".join(parts[:2]) in _ACTING:
        raise ValueError(f"it wants {name[:100]} to be run, which no weights need; the file is hostile")


def plain_key(key: Any) -> Any:
    """A key that can be hashed safely: plain values and short tuples of them as they are, others by identity.

    To hash a tuple a million deep would end the process, and one that doubles at each level would take for ever.
    """
    if isinstance(key, (*_PLAIN, Inert, InertName)):
        return key
    if type(key) is tuple and len(key) <= 16 and all(isinstance(part, _PLAIN) for part in key):
        return key
    return Inert("key", (key,))


def _versions(metadata: Any) -> OrderedDict:
    """The version numbers of modules in a state dict's metadata, and nothing else of it."""
    modules = metadata.items() if isinstance(metadata, dict) else ()
    versions = {name: entry.get("version") for name, entry in modules if isinstance(entry, dict)}
    return OrderedDict((name, {"version": version}) for name, version in versions.items() if type(version) is int)


class BoundedStream:
    """A binary file whose reads are counted, and never longer than the bytes that are left.

    Args:
        file: Where to read.
        size: Bytes that it has.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._reads = file, size, 0

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        self._count()
        if not 0 <= count <= self._size - self._file.tell():
            raise ValueError(f"the pickle stream ends early: {count} bytes are declared beyond its end")
        return self._file.read(count)

    def readline(self) -> bytes:
        """The bytes up to the end of a line."""
        self._count()
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise ValueError("the pickle stream ends early")
        return line

    def _count(self) -> None:
        self._reads += 1
        if self._reads > _MOST_READS:
            raise ValueError(f"the pickle stream has more than {_MOST_READS} parts")


class _Memo(dict):
    """What the stream remembers; tells inert values where, so that they can be replaced when they are whole."""

    def __setitem__(self, index: int, value: Any) -> None:
        super().__setitem__(index, value)
        if isinstance(value, Inert):
            value.memo_index = index


class _Steps(dict):
    def __missing__(self, opcode: int) -> Callable:
        raise ValueError(f"opcode {bytes([opcode])!r} is not one that torch.save writes")


class InertUnpickler(pickle._Unpickler):
    """Reads one pickle stream; what is not plain data becomes `Inert` and `InertName`.

    Args:
        stream: Where the stream begins; afterwards, where it has ended.
        named: Makes a value of a name, `InertName` where nothing better is known.
        called: Makes a value of a name that is called and its arguments.
        finished: Makes a value of an inert one whose attributes have been read.
        stored: Makes a value of a persistent id, by which torch's pickles name storages.
    """

    def __init__(
        self,
        stream: BoundedStream,
        named: Callable[[str], Any],
        called: Callable[[str, tuple], Any],
        finished: Callable[[Inert], Any],
        stored: Callable[[Any], Any],
    ) -> None:
        super().__init__(stream, encoding="utf-8", errors="replace")
        self.memo = _Memo()
        self._named, self._called, self._finished, self.persistent_load = named, called, finished, stored

    dispatch = _Steps(pickle._Unpickler.dispatch)
    for _opcode in (pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER):  # allocate, or read other memory
        del dispatch[_opcode[0]]

    def find_class(self, module: str, name: str) -> Any:
        """The value of a name, Python 2's names of modules translated."""
        if len(module) + len(name) > _MOST_NAME:
            raise ValueError(f"the name of a class or function has more than {_MOST_NAME} characters")
        if self.proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        return self._named(f"{module}.{name}")

    def get_extension(self, code: int) -> None:
        """A registered number in place of a name."""
        self.append(InertName(f"copyreg extension {code}"))

    def _call(self, what: Any, args: Any) -> None:
        if not isinstance(what, (InertName, Inert)) or not isinstance(args, tuple):
            raise ValueError(f"a {kind_of(what)} is called with a {kind_of(args)}; expected a name and a tuple")
        name = what.name if isinstance(what, InertName) else f"{what.name[:200]}()"
        self.append(self._called(name, args))

    def load_frame(self) -> None:
        """The length of a part; parts are read like the rest."""
        self.read(8)

    def load_persid(self) -> None:
        raise ValueError("a storage is named by a line of text, which torch.save never writes")

    def load_reduce(self) -> None:
        args, what = self.stack.pop(), self.stack.pop()
        self._call(what, args)

    def load_newobj_ex(self) -> None:
        keywords, args, what = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._call(what, (*args, keywords) if isinstance(args, tuple) else args)

    def load_inst(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self._call(self.find_class(module, name), tuple(self.pop_mark()))

    def load_obj(self) -> None:
        what, *args = self.pop_mark()
        self._call(what, tuple(args))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Inert):
            target.state = state
            self.stack[-1] = made = self._finished(target)
            if target.memo_index is not None and made is not target:
                self.memo[target.memo_index] = made
        elif type(target) is OrderedDict and isinstance(state, dict):
            target._metadata = _versions(state.get("_metadata"))  # what `Module.state_dict` leaves
        elif isinstance(target, (InertName, *_PLAIN)):
            raise ValueError(f"attributes are set on a {kind_of(target)}")
        # Whatever else has attributes beside its values, such as a parameter, is read without them.

    def _add(self, values: list[Any]) -> None:
        target = self.stack[-1]
        elements = target.elements if isinstance(target, Inert) else target
        if type(elements) is set:
            elements.update(map(plain_key, values))
        elif type(elements) is list:
            elements.extend(values)
        else:
            raise ValueError(f"elements are added to a {kind_of(target)}")

    def load_append(self) -> None:
        self._add([self.stack.pop()])

    def load_appends(self) -> None:
        self._add(self.pop_mark())

    def _set(self, values: list[Any]) -> None:
        target = self.stack[-1]
        table = target.items if isinstance(target, Inert) else target
        if not isinstance(table, dict) or len(values) % 2:
            raise ValueError(f"entries are set on a {kind_of(target)}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            table[plain_key(key)] = value

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # first: `append` is that of the stack after it
        self.append(frozenset(map(plain_key, items)))

    dispatch |= {
        pickle.FRAME[0]: load_frame,
        pickle.PERSID[0]: load_persid,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        pickle.INST[0]: load_inst,
        pickle.OBJ[0]: load_obj,
        pickle.BUILD[0]: load_build,
        pickle.APPEND[0]: load_append,
        pickle.APPENDS[0]: load_appends,
        pickle.ADDITEMS[0]: load_appends,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.DICT[0]: load_dict,
        pickle.FROZENSET[0]: load_frozenset,
    }
