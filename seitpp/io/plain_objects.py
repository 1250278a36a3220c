"""The few kinds of objects that checkpoints hold beside tensors, made again from what their pickles record.

A fixed table: numpy's arrays and numbers, sets, counters, torch's types and devices, and the histories that mmengine's
runner keeps of its logs. None of them takes a function or the name of one.
"""

import re
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seitpp.io.inert_pickle import Inert, InertName, kind_of, plain_key

_HISTORY = "mmengine.logging.history_buffer.HistoryBuffer"
_MOST_DEPTH, _MOST_VALUES = 100, 1 << 20  # shared values count wherever they stand
_DTYPE = re.compile(r"[biufcSU]\d{1,6}|\?")
_TORCH_DTYPES = {f"torch.{name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
# Names that stand in data as arguments of what is read below, or of torch's tensors.
_KNOWN_NAMES = re.compile(
    r"torch\.\w*Storage|torch\.storage\.(Un)?[tT]ypedStorage|torch\.(_utils|_tensor)\._rebuild_\w+"
    r"|torch\.(per_(tensor|channel)\w+|serialization\._get_layout)"
    r"|torch\.Tensor|torch\.nn\.parameter\.(Parameter|Buffer)"
    r"|collections\.(OrderedDict|Counter|defaultdict)|_codecs\.encode|torch\.(Size|device)"
    r"|builtins\.(set|frozenset|bytes|bytearray|complex|slice|getattr|dict|list|int|float)"
    rf"|numpy\.(ndarray|dtype|_?core\.multiarray\.(_reconstruct|scalar))|{re.escape(_HISTORY)}(\.\w+)?"
)
_LEAVES = (str, int, float, complex, bool, bytes, bytearray, slice, type(None), Tensor, np.ndarray, np.generic)
_LEAVES += (np.dtype, torch.dtype, torch.device)


class NotPlainError(ValueError):
    """A file holds something that is neither a tensor nor a plain value."""


@dataclass(eq=False)
class UnreadTensor(Inert):
    """A tensor of a kind that is not read here; the rest of its file is.

    Attributes:
        reason: Why not.
    """

    reason: str = ""


def named(name: str) -> Any:
    """The value of a name that is a type of numbers, else the name."""
    return _TORCH_DTYPES.get(name) or InertName(name)


def is_known(name: str) -> bool:
    """Whether plain checkpoints hold this name."""
    return name in _TORCH_DTYPES or _KNOWN_NAMES.fullmatch(name) is not None


def called(name: str, args: tuple) -> Any:
    """What a call makes, or `NotImplemented` if it is not in the table or has other arguments than the table knows."""
    match name, args:
        case "collections.OrderedDict", ():
            return OrderedDict()
        case "collections.OrderedDict", ([*pairs],) if all(isinstance(pair, list | tuple) for pair in pairs):
            return OrderedDict((plain_key(key), value) for key, value in pairs)
        case "collections.defaultdict", (InertName(),) | ():
            return {}
        case "collections.Counter", (dict() as counts,):
            return Counter(counts) if all(type(count) is int for count in counts.values()) else NotImplemented
        case "builtins.set", ([*elements],):
            return set(map(plain_key, elements))
        case "builtins.frozenset", ([*elements],):
            return frozenset(map(plain_key, elements))
        case "builtins.bytes", ():
            return b""
        case "builtins.bytearray", ():
            return bytearray()
        case "builtins.bytearray", (bytes() as content,):
            return bytearray(content)
        case "builtins.bytearray", (str() as text, "latin-1" | "latin1"):
            return bytearray(text, "latin-1")
        case "_codecs.encode", (str() as text, "latin1" | "latin-1"):
            return text.encode("latin-1")
        case "builtins.complex", (float() as real, float() as imaginary):
            return complex(real, imaginary)
        case "builtins.slice", (_, _, _) if all(part is None or type(part) is int for part in args):
            return slice(*args)
        case "torch.Size", ([*sizes] | (*sizes,),) if all(type(size) is int for size in sizes):
            return torch.Size(sizes)
        case "torch.serialization._get_layout", (str() as layout,):
            return InertName(layout)
        case "torch.device", (str() as device,) | (str() as device, int()):
            return torch.device(device, *args[1:]) if len(device) < 32 else NotImplemented
        case "builtins.getattr", (InertName(name=owner), str() as attribute) if owner == _HISTORY:
            # The statistics that a history offers: its own methods, whatever the file says.
            return InertName(f"{_HISTORY}.{attribute}") if attribute.isidentifier() else NotImplemented
        case (
            ("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar"),
            (np.dtype() as dtype, bytes() as raw),
        ):
            return _array(raw, dtype, ())[()]
        case "numpy.dtype", (str() as code, *_) if _DTYPE.fullmatch(code):
            return Inert(name, args)
        case (
            ("numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct"),
            (
                InertName(name="numpy.ndarray"),
                *_,
            ),
        ):
            return Inert(name, args)
        case n, () if n == _HISTORY:
            return Inert(name, args)
    return NotImplemented


def finished(value: Inert) -> Any:
    """The object that `called` has begun and that now has its attributes; other inert values as they are."""
    if value.name == "numpy.dtype":
        return _dtype(value)
    if value.name == _HISTORY:
        return _history(value)
    if value.name.endswith("multiarray._reconstruct"):
        match value.state:
            case (*_, (*shape,), np.dtype() as dtype, bool() | int() as in_columns, bytes() as raw):
                return _array(raw, dtype, tuple(shape), "F" if in_columns else "C")
    return value


def _array(raw: bytes, dtype: np.dtype, shape: tuple, order: str = "C") -> np.ndarray:
    if any(type(side) is not int or side < 0 for side in shape) or len(shape) > 32:
        raise ValueError("the shape of a numpy array is not made of sizes")
    values = np.frombuffer(raw, dtype) if raw else np.empty(0, dtype)
    return values.reshape(shape, order=order).copy()


def _dtype(value: Inert) -> Any:
    dtype = np.dtype(value.args[0])
    order = value.state[1] if isinstance(value.state, tuple) and len(value.state) > 1 else None
    return dtype.newbyteorder(order) if order in ("<", ">") else dtype


def _history(value: Inert) -> Any:
    """An mmengine history: two rows of numbers; the functions that its pickle lists are left out."""
    from mmengine.logging.history_buffer import HistoryBuffer

    state = value.state if isinstance(value.state, dict) else {}
    rows = [state.get("_log_history"), state.get("_count_history")]
    longest = state.get("max_length")
    plain = all(isinstance(row, np.ndarray) and row.ndim == 1 and row.dtype.kind in "biuf" for row in rows)
    if not plain or len(rows[0]) != len(rows[1]) or type(longest) is not int or longest < max(1, len(rows[0])):
        raise ValueError("a history of the runner's log does not hold two rows of numbers")
    history = HistoryBuffer(max_length=longest)
    history._log_history, history._count_history = rows
    return history


def check_plain(content: Any) -> None:
    """Refuse content that holds anything inert, or more and deeper than those who use it can walk through.

    Raises:
        NotPlainError: With what it is and where.
        ValueError: It is nested too deep, contains itself, or doubles at each level.
    """
    pending: list[tuple[Any, tuple, int]] = [(content, (), 0)]  # a value, its keys from the innermost out, its depth
    left = _MOST_VALUES
    while pending:
        value, keys, depth = pending.pop()
        if isinstance(value, dict):
            for key in value:
                if isinstance(key, Inert | InertName):
                    raise NotPlainError(f"a key of {_dotted(keys)} is a {kind_of(key)}")
            pending += [(child, (key, keys), depth + 1) for key, child in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            pending += [(child, keys, depth + 1) for child in value]
        elif isinstance(value, UnreadTensor):
            raise NotPlainError(f"{_dotted(keys)} is a tensor that cannot be read: {value.reason}")
        elif not isinstance(value, _LEAVES) and kind_of(value) != "HistoryBuffer":
            raise NotPlainError(f"{_dotted(keys)} is a {kind_of(value)}")
        left -= 1
        if depth > _MOST_DEPTH or left < 0:
            raise ValueError(
                f"it is nested more than {_MOST_DEPTH} levels deep, or holds more than {_MOST_VALUES} values"
            )


def _dotted(keys: tuple) -> str:
    """Keys from the innermost out, nested in pairs, as a dotted name."""
    names: list[str] = []
    while keys:
        key, keys = keys
        names.append(str(key)[:40])
    return ".".join(reversed(names)) or "it"
