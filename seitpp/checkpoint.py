"""Checkpoint files as data: tensors and plain types only, and names and shapes that are checked, not guessed.

mmengine's own loader falls back to unpickling when a file is more than tensors, unless
`TORCH_FORCE_WEIGHTS_ONLY_LOAD=1` is set; our tools set it. It also loads what fits and logs the rest; here a mismatch
is an error that lists the names.
"""

import os
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner.checkpoint import get_torch_safe_globals
from torch import Tensor

from seitpp.codebook import UNREADABLE_ERRORS
from seitpp.files import written_whole

# Names under which a training script of any of the codebases we read keeps the weights in its checkpoint.
_STATE_DICT_KEYS = ("state_dict", "model", "module")
SAFETENSORS_SUFFIX = ".safetensors"


def forbid_pickled_code() -> None:
    """Make every later `torch.load` of this process accept tensors and plain types only."""
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"


def load_checkpoint_file(path: str | Path) -> Any:
    """Read a torch or safetensors checkpoint without running anything in it.

    Returns:
        What the file holds; of a `.safetensors` file its text metadata as `meta` and its tensors as `state_dict`.

    Raises:
        FileNotFoundError: Nothing lies at `path`.
        ValueError: It is damaged, or a pickle with other things than tensors, plain types and what mmengine's runner
            writes. No code in it is run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    if path.suffix == SAFETENSORS_SUFFIX:
        return _load_safetensors(path)
    try:
        with torch.serialization.safe_globals(get_torch_safe_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint {path} holds more than tensors and plain types, or is damaged; it was refused and nothing in "
            f"it was run. Ask its maker for a state dict. ({str(error).splitlines()[0]})"
        ) from error
    except UNREADABLE_ERRORS as error:
        raise ValueError(f"checkpoint {path} is not a readable torch file: {error!r}") from error


def _load_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            meta = dict(file.metadata() or {})
            return {"meta": meta, "state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is not a readable safetensors file: {error}") from error


def save_weights(path: str | Path, weights: Mapping[str, Tensor], meta: Mapping[str, str]) -> None:
    """Write weights and facts about them as `{"meta", "state_dict"}`, or as `.safetensors` by the suffix.

    Only tensors and text enter the file; it is written aside, then renamed.
    """
    path = Path(path)
    # Contiguous copies: a view would drag its whole storage into the file.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    with written_whole(path) as temporary:
        if path.suffix == SAFETENSORS_SUFFIX:
            from safetensors.torch import save_file

            save_file(weights, temporary, metadata=dict(meta))
        else:
            torch.save({"meta": dict(meta), "state_dict": weights}, temporary)


def state_dict_of(checkpoint: Any, path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint: the dict itself, or what it keeps under `state_dict`, `model` or `module`."""
    if isinstance(checkpoint, Mapping):
        for key in _STATE_DICT_KEYS:
            if isinstance(checkpoint.get(key), Mapping):
                checkpoint = checkpoint[key]
                break
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise ValueError(f"checkpoint {path} holds no weights; expected a dict of tensors")
    strange = [name for name, value in checkpoint.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(f"checkpoint {path} holds entries that are not tensors: {shorten(strange)}")
    return {name.removeprefix("module."): value for name, value in checkpoint.items()}


def check_finite(weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Refuse weights that hold NaN or infinity, which a diverged training leaves.

    Args:
        weights: Tensors by name; integers always pass.
        source: What they are from, for the message: "checkpoint work_dirs/x/epoch_3.pth".

    Raises:
        ValueError: With the names, and how many values of the first are not finite.
    """
    broken = [name for name, value in weights.items() if _is_float(value) and not value.isfinite().all()]
    if broken:
        first = weights[broken[0]]
        count = int((~first.isfinite()).sum())
        raise ValueError(
            f"{source} holds values that are NaN or infinite in {shorten(broken)} ({count} of {first.numel()} in "
            f"{broken[0]}); it is damaged, or its training diverged. Take an earlier checkpoint"
        )


def _is_float(value: Tensor) -> bool:
    return value.is_floating_point() or value.is_complex()


def shorten(names: Iterable[str], most: int = 8) -> str:
    """Names in a row, cut after `most` with the number that is left."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def check_state_dict(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: str | Path,
    *,
    may_miss: Iterable[str] = (),
    may_exceed: Iterable[str] = (),
    resizable: Iterable[str] = (),
) -> None:
    """Refuse weights whose names or shapes are not those of the model.

    Args:
        found: What the checkpoint holds.
        expected: What the model holds.
        source: The checkpoint's path, for the message.
        may_miss: Names that the checkpoint need not hold.
        may_exceed: Names that the checkpoint may hold and the model lack.
        resizable: Names whose number of places (the second dimension) may differ: position tables, resized on loading.

    Raises:
        ValueError: With the names that are missing, unknown or of another shape.
    """
    common = found.keys() & expected.keys()
    if not common:
        raise ValueError(
            f"checkpoint {source} has no key in common with the model; it holds {shorten(found)}, the model expects "
            f"{shorten(expected)}. Is it another model's, or does it need tools/convert_checkpoint.py?"
        )
    resizable, may_miss, may_exceed = set(resizable), set(may_miss), set(may_exceed)
    problems = []
    shapes = [
        f"{name} {tuple(found[name].shape)} where the model has {tuple(expected[name].shape)}"
        for name in expected
        if name in common and not _shape_fits(found[name], expected[name], name in resizable)
    ]
    if shapes:
        problems.append(f"wrong shapes: {shorten(shapes, 4)}")
    missing = [name for name in expected if name not in common and name not in may_miss]
    if missing:
        problems.append(f"missing keys: {shorten(missing)}")
    unknown = [name for name in found if name not in common and name not in may_exceed]
    if unknown:
        problems.append(f"unknown keys: {shorten(unknown)}")
    if problems:
        raise ValueError(f"checkpoint {source} does not fit the model: " + "; ".join(problems))


def _shape_fits(found: Tensor, expected: Tensor, resizable: bool) -> bool:
    if resizable and found.ndim == expected.ndim == 3:
        return found.shape[::2] == expected.shape[::2]
    return found.shape == expected.shape
