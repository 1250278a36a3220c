"""The few kinds of objects that checkpoints hold beside tensors, made from the records of an inert pickle.

A fixed table: numpy's arrays and numbers, sets, counters, torch's types and devices, and the histories that mmengine's
runner keeps of its logs. None of them takes a function or the name of one.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import Tensor

from seitpp.io.inert_pickle import Inert, InertName, kind_of, plain_key

_MOST_DEPTH, _MOST_VALUES = 100, 1 << 20  # a value that several others hold counts in each of them
_DTYPE = re.compile(r"[biufcSU]\d{1,6}|\?")
_TORCH_DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_LEAVES = (
    *(str, int, float, complex, bool, bytes, bytearray, slice, type(None), Tensor, np.ndarray, np.generic),
    *(np.dtype, torch.dtype, torch.device, HistoryBuffer),
)


class NotPlainError(ValueError):
    """A file holds something that is neither a tensor nor a plain value."""


@dataclass(eq=False)
class UnreadTensor(Inert):
    """A tensor of a kind that is not read here, and why not; the rest of its file is."""

    reason: str = ""


class ObjectMaker:
    """Puts objects in place of the records that a pickle holds, each once; records of other calls stay.

    `tensor` makes a tensor from the name of one of torch's functions and its arguments.
    """

    def __init__(self, tensor: Callable[[str, tuple], Any]) -> None:
        self._tensor = tensor
        self._made: dict[int, tuple[Any, Any]] = {}  # by identity; the first of each pair keeps it alive
        self._depth = 0

    def made(self, value: Any) -> Any:
        """Return what a value stands for, with all that it holds; dicts and lists are changed in place."""
        if isinstance(value, InertName):
            return _TORCH_DTYPES.get(value.name, value)
        if type(value) not in (dict, list, tuple, set, frozenset, Inert):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = value, value  # for what contains itself
            self._depth += 1
            if self._depth > _MOST_DEPTH:
                raise ValueError(f"it is nested more than {_MOST_DEPTH} levels deep")
            self._made[id(value)] = value, self._with_contents(value)
            self._depth -= 1
        return self._made[id(value)][1]

    def _with_contents(self, value: Any) -> Any:
        if isinstance(value, dict):
            entries = list(value.items())
            value.clear()
            value.update((self._key(key), self.made(child)) for key, child in entries)
        elif isinstance(value, list):
            value[:] = map(self.made, value)
        elif isinstance(value, tuple):
            return tuple(map(self.made, value))
        elif isinstance(value, set | frozenset):
            return type(value)(map(self._key, value))
        else:
            for name in ("args", "state", "items", "elements"):
                setattr(value, name, self.made(getattr(value, name)))
            return self._object(value)
        return value

    def _key(self, key: Any) -> Any:
        return plain_key(self.made(key))

    def _object(self, record: Inert) -> Any:
        match record.name, record.args:
            case "torch._tensor._rebuild_from_type_v2", (InertName() as builder, _, tuple() as args, *_):
                name = builder.name  # of a buffer, or a tensor with attributes
            case name, args:
                pass
        if name.startswith("torch._utils._rebuild_"):
            return self._tensor(name, args)
        made = _object(record)
        if isinstance(made, dict):
            made.update(record.items)
        return made


def _object(record: Inert) -> Any:
    """Return what a call makes; its record if the table does not know it, or not with such arguments."""
    match record.name, record.args:
        case "collections.OrderedDict", ():
            return _with_versions(OrderedDict(), record.state)
        case "collections.OrderedDict", ([*pairs],) if all(isinstance(pair, list | tuple) for pair in pairs):
            return OrderedDict((plain_key(key), value) for key, value in pairs)
        case "collections.defaultdict", (InertName(),) | ():
            return {}
        case "collections.Counter", (dict() as counts,) if all(type(count) is int for count in counts.values()):
            return Counter(counts)
        case "builtins.set", ([*elements],):
            return set(map(plain_key, elements))
        case "builtins.frozenset", ([*elements],):
            return frozenset(map(plain_key, elements))
        case "builtins.bytes", ():
            return b""
        case "builtins.bytearray", () | (bytes(),) | (str(), "latin-1" | "latin1"):
            return bytearray(*record.args)
        case "_codecs.encode", (str() as text, "latin1" | "latin-1"):
            return text.encode("latin-1")
        case "builtins.complex", (float() as real, float() as imaginary):
            return complex(real, imaginary)
        case "builtins.slice", (_, _, _) as parts if all(part is None or type(part) is int for part in parts):
            return slice(*parts)
        case "torch.Size", ([*sizes],) if all(type(size) is int for size in sizes):
            return torch.Size(sizes)
        case "torch.device", (str() as device, *index) if len(device) < 32 and all(type(at) is int for at in index):
            return torch.device(device, *index)
        case "numpy.dtype", (str() as code, *_) if _DTYPE.fullmatch(code):
            order = record.state[1] if isinstance(record.state, tuple) and len(record.state) > 1 else None
            return np.dtype(code).newbyteorder(order if order in ("<", ">") else "=")
        case name, (np.dtype() as dtype, bytes() as raw) if name.endswith("core.multiarray.scalar"):
            return _array(raw, dtype, ())[()]
        case name, (InertName(name="numpy.ndarray"), *_) if name.endswith("core.multiarray._reconstruct"):
            match record.state:
                case (*_, (*shape,), np.dtype() as dtype, bool() | int() as in_columns, bytes() as raw):
                    return _array(raw, dtype, tuple(shape), "F" if in_columns else "C")
        case "mmengine.logging.history_buffer.HistoryBuffer", ():
            return _history(record.state)
    return record


def _with_versions(table: Any, state: Any) -> OrderedDict:
    """Give a state dict the version numbers of modules in its metadata, and nothing else that was set on it."""
    metadata = state.get("_metadata") if isinstance(state, dict) else None
    if isinstance(metadata, dict):
        table._metadata = OrderedDict(
            (name, {"version": entry["version"]})
            for name, entry in metadata.items()
            if isinstance(entry, dict) and type(entry.get("version")) is int
        )
    return table


def _array(raw: bytes, dtype: np.dtype, shape: tuple, order: str = "C") -> np.ndarray:
    if any(type(side) is not int or side < 0 for side in shape) or len(shape) > 32:
        raise ValueError("the shape of a numpy array is not made of sizes")
    values = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
    return values.reshape(shape, order=order).copy()


def _history(state: Any) -> HistoryBuffer:
    """Return an mmengine history: two rows of numbers, without the functions that its pickle lists."""
    state = state if isinstance(state, dict) else {}
    rows = [state.get("_log_history"), state.get("_count_history")]
    longest = state.get("max_length")
    plain = all(isinstance(row, np.ndarray) and row.ndim == 1 and row.dtype.kind in "biuf" for row in rows)
    if not plain or len(rows[0]) != len(rows[1]) or type(longest) is not int or longest < max(1, len(rows[0])):
        raise ValueError("a history of the runner's log does not hold two rows of numbers")
    history = HistoryBuffer(max_length=longest)
    history._log_history, history._count_history = rows
    return history


def check_plain(content: Any) -> None:
    """Refuse content that holds anything inert, or more values than those who use it can walk through."""
    pending, visited = [(content, "it")], 0  # values, and where they are
    while pending:
        value, where = pending.pop()
        if isinstance(value, dict):
            above = "" if value is content else f"{where}."
            for key, child in value.items():
                if isinstance(key, Inert | InertName):
                    raise NotPlainError(f"a key of {where} is a {kind_of(key)}")
                pending.append((child, above + str(key)[:40]))
        elif isinstance(value, list | tuple | set | frozenset):
            pending += [(child, where) for child in value]
        elif isinstance(value, UnreadTensor):
            raise NotPlainError(f"{where} is a tensor that cannot be read: {value.reason}")
        elif not isinstance(value, _LEAVES):
            raise NotPlainError(f"{where} is a {kind_of(value)}")
        visited += 1
        if visited > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES} values, or contains itself")
