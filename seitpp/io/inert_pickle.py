"""Pickles read as data: nothing that a file names is imported, and nothing that it calls is called.

Every name becomes an `InertName` and every call an `Inert` record; `plain_objects` makes tensors and the few other
objects of checkpoints from the records afterwards. Only these two classes can be called or given attributes while a
pickle is read, so nothing real is within its reach. The base is Python's own `pickle._Unpickler`, as joblib and
cloudpickle use it, and not the class in C: that one hashes dict keys itself (a tuple nested 200,000 deep ends the
process), makes room for as many remembered values as a file claims, and takes extensions from a table of the process.
"""

import _compat_pickle
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

_MOST_READS = 1 << 22  # about two per opcode; one opcode of a byte can make an object of 200 bytes
_MOST_LINE = 1 << 26
_MOST_NAME = 1000  # characters; a pickle can join and repeat long texts with a few bytes
# Modules and built-in functions that make no data. A file that calls one is refused as hostile, although nothing runs.
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
    """A class or function that a file names: its module and name as text."""

    name: str

    def __call__(self, *args: Any) -> "Inert":
        parts = self.name.split(".")
        if parts[0] in _ACTING or ".".join(parts[:2]) in _ACTING:
            raise ValueError(f"it wants {self.name[:100]} to be run, which no weights need; the file is hostile")
        return Inert(self.name, args)

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"attributes are set on a {self.name[:100]}")


@dataclass(eq=False, repr=False)  # what it holds may have no end
class Inert:
    """The record of a call that a file asks for, and of what it would have put into the result."""

    name: str
    args: tuple = ()  # keyword arguments, as a dict, are the last of them
    state: Any = None  # attributes
    items: dict = field(default_factory=dict)  # of a mapping
    elements: list = field(default_factory=list)  # of a list or a set

    def __call__(self, *args: Any) -> "Inert":
        return InertName(f"{self.name[:200]}()")(*args)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, value: Any) -> None:
        self.elements.append(value)

    add = append


_HASHED = (str, int, float, bool, bytes, type(None), Inert, InertName)


def kind_of(value: Any) -> str:
    """Return the type of a value, or the name of an inert one, for messages."""
    return value.name[:100] if isinstance(value, (Inert, InertName)) else type(value).__name__


def plain_key(key: Any) -> Any:
    """Return a key that is safe to hash: plain values, records, and short tuples of these; a name in place of others.

    Hashing a tuple a million levels deep would end the process, and one that doubles at each level would never end.
    """
    parts = key if type(key) is tuple and len(key) <= 16 else (key,)
    return key if all(isinstance(part, _HASHED) for part in parts) else InertName("key")


class BoundedStream:
    """A file of `size` bytes that counts its reads and refuses those beyond its end, before they take any memory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size, self._reads = file, size, 0

    def read(self, count: int) -> bytes:
        self._count()
        if count > self._size - self._file.tell():
            raise ValueError(f"the pickle stream ends early: {count} bytes are declared beyond its end")
        return self._file.read(count)

    def readline(self) -> bytes:
        self._count()
        line = self._file.readline(_MOST_LINE)
        if not line.endswith(b"\n"):
            raise ValueError(f"the pickle stream ends early, or has a line of more than {_MOST_LINE} bytes")
        return line

    def _count(self) -> None:
        self._reads += 1
        if self._reads > _MOST_READS:
            raise ValueError(f"the pickle stream has more than {_MOST_READS} parts")


def _with_plain_keys(load: Callable, keys: slice) -> Callable:
    """Return a step that hashes what lies at `keys` of the stack, made safe."""

    def step(unpickler: "InertUnpickler") -> None:
        unpickler.stack[keys] = list(map(plain_key, unpickler.stack[keys]))
        load(unpickler)

    return step


class InertUnpickler(pickle._Unpickler):
    """Reads one pickle; names and calls become `InertName` and `Inert`.

    `stored` returns the storage of a persistent id, by which torch's pickles name storages.
    """

    def __init__(self, stream: BoundedStream, stored: Callable[[Any], Any]) -> None:
        super().__init__(stream, encoding="utf-8", errors="replace")
        self.persistent_load = stored

    def find_class(self, module: str, name: str) -> InertName:
        """Return the name; Python 2's names of modules are translated."""
        if len(module) + len(name) > _MOST_NAME:
            raise ValueError(f"the name of a class or function has more than {_MOST_NAME} characters")
        if self.proto < 3:
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        return InertName(f"{module}.{name}")

    def get_extension(self, code: int) -> None:
        self.append(InertName(f"copyreg extension {code}"))

    def load_frame(self) -> None:
        self.read(8)  # its length; its content is read like the rest

    def load_reduce(self, *keywords: Any) -> None:
        """Record a call. Python's error for wrong arguments would print what is called, which may have no end."""
        args, called = self.stack.pop(), self.stack[-1]
        if type(args) is not tuple:
            raise ValueError(f"a {kind_of(called)} is called with a {kind_of(args)}, expected a tuple")
        self.stack[-1] = called(*args, *keywords)

    _base = pickle._Unpickler
    dispatch = _base.dispatch | {
        pickle.FRAME[0]: load_frame,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: lambda self: self.load_reduce(self.stack.pop()),
        pickle.SETITEM[0]: _with_plain_keys(_base.load_setitem, slice(-2, -1)),
        pickle.SETITEMS[0]: _with_plain_keys(_base.load_setitems, slice(0, None, 2)),
        pickle.DICT[0]: _with_plain_keys(_base.load_dict, slice(0, None, 2)),
        pickle.ADDITEMS[0]: _with_plain_keys(_base.load_additems, slice(None)),
        pickle.FROZENSET[0]: _with_plain_keys(_base.load_frozenset, slice(None)),
    }
    del dispatch[pickle.BYTEARRAY8[0]]  # makes room for as many bytes as are declared, before it reads them
