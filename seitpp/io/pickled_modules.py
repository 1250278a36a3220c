"""Weights of modules that were pickled whole: their parameters and buffers, without the modules' classes."""

from typing import Any

from torch import Tensor

from seitpp.io.inert_pickle import Inert, kind_of
from seitpp.io.plain_objects import UnreadTensor

_MOST_PARTS = 100_000
_MOST_NAME = 1000  # characters


def is_module(value: Any) -> bool:
    """Return whether this is a pickled `torch.nn.Module`."""
    return isinstance(value, Inert) and {"_parameters", "_modules"} <= _attributes(value).keys()


def weights_of_module(module: Inert) -> dict[str, Tensor | UnreadTensor]:
    """Return the state dict of a pickled module, from its parameters, buffers and submodules."""
    if not is_module(module):
        raise ValueError(f"{module.name} is not a pickled torch module: it has no _parameters and _modules")
    weights: dict[str, Tensor | UnreadTensor] = {}
    pending, visited = [("", module)], 0
    while pending:
        prefix, part = pending.pop()
        visited += 1
        if max(visited, len(pending), len(weights)) > _MOST_PARTS or len(prefix) > _MOST_NAME:
            raise ValueError(f"module {module.name[:100]} has more than {_MOST_PARTS} parts, or contains itself")
        state = _attributes(part)
        for name, value in _own_tensors(state):
            if not isinstance(value, (Tensor, UnreadTensor)):
                raise ValueError(f"{prefix}{name} is a {kind_of(value)}, not a plain tensor")
            weights[prefix + name] = value
        children = _table(state, "_modules").items()
        pending += [(f"{prefix}{name}.", child) for name, child in children if child is not None]
    return weights


def _attributes(value: Any) -> dict:
    state = value.state if isinstance(value, Inert) else None
    if isinstance(state, tuple) and len(state) == 2:  # attributes, and slots
        state = state[0]
    return state if isinstance(state, dict) else {}


def _own_tensors(state: dict) -> list[tuple[str, Any]]:
    hidden = state.get("_non_persistent_buffers_set")
    hidden = hidden if isinstance(hidden, set) else set()
    buffers = [(name, value) for name, value in _table(state, "_buffers").items() if name not in hidden]
    named = [*_table(state, "_parameters").items(), *buffers]
    return [(name, value) for name, value in named if value is not None]


def _table(state: dict, key: str) -> dict:
    table = state.get(key, {})
    if not isinstance(table, dict) or not all(isinstance(name, str) and len(name) <= _MOST_NAME for name in table):
        raise ValueError(f"{key} of a module is a {kind_of(table)}, expected names and their values")
    return table
