"""Checkpoint files as data: tensors and plain types only, and names and shapes that are checked, not guessed.

Importing this module also makes mmengine's loader read so, whoever calls it: a run's `load_from` and `resume`,
`init_cfg`, the inferencers of other projects. By itself it reads with a list of functions that lets a file reach any
other, unpickles what that refuses, loads the weights that fit and logs the rest.
"""

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import Tensor

from seitpp.io.atomic_write import write_whole, written_whole
from seitpp.io.text import shorten, shown
from seitpp.io.torch_file import load_torch_file
from seitpp.io.untrusted import check_regular_file, parse_json_object, parsing

SAFETENSORS_SUFFIX = ".safetensors"
# Entry of a safetensors file's metadata, which is text alone, that holds others as JSON.
_META_KEY = "seitpp_meta"
# Names under which a training script of any of the codebases we read keeps the weights in its checkpoint.
_STATE_DICT_KEYS = ("state_dict", "model", "module")
# Types of what mmengine and the hooks take out of a checkpoint without looking, by dotted key.
_TYPES: dict[str, type | tuple[type, ...]] = {
    "meta": dict,
    "meta.epoch": int,
    "meta.iter": int,
    "meta.seed": int,
    "meta.samples_per_step": int,
    "meta.world_size": int,
    "meta.accumulative_counts": int,
    "meta.dataset_meta": dict,
    "meta.dataset_meta.classes": (list, tuple),
    "state_dict": dict,
    "ema_state_dict": dict,
    "optimizer": dict,
    "param_schedulers": (list, dict),
    "message_hub": dict,
    "message_hub.log_scalars": dict,
    "message_hub.runtime_info": dict,
    "message_hub.resumed_keys": dict,
}


def load_checkpoint_file(path: str | Path, device: Any = None) -> Any:
    """Read a torch or safetensors checkpoint without running anything in it; onto the CPU by default.

    On the device "meta" tensors have shapes and no values, and none are read. Of a `.safetensors` file the text
    metadata comes as `meta` and the tensors as `state_dict`.
    """
    path = check_regular_file(path, "checkpoint")
    return (
        _load_safetensors(path, device) if path.suffix == SAFETENSORS_SUFFIX else load_torch_file(path, device=device)
    )


def load_checkpoint_meta(path: str | Path) -> dict[str, Any]:
    """Return the `meta` of a checkpoint file, without reading its weights; empty where it has none."""
    content = load_checkpoint_file(path, "meta")
    if not isinstance(content, dict):
        return {}
    check_parts(content, path)
    return content.get("meta") or {}


def _load_safetensors(path: Path, device: Any) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    def read(name: str) -> Tensor:
        if device == "meta":
            return torch.empty(file.get_slice(name).get_shape(), device="meta")
        return file.get_tensor(name)

    target = "cpu" if device in (None, "meta") else str(device)
    try:
        with parsing(f"checkpoint {path}", "a safetensors file"), safe_open(path, "pt", target) as file:
            weights = {name: read(name) for name in file.keys()}  # noqa: SIM118
            meta = dict(file.metadata() or {})
            if _META_KEY in meta:
                meta |= parse_json_object(meta.pop(_META_KEY), f"{_META_KEY} of checkpoint {path}")
            return {"meta": meta, "state_dict": weights}
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is not a readable safetensors file: {error}") from error


def check_parts(content: dict, source: str | Path) -> None:
    """Refuse parts of other types than those that mmengine and the hooks take them for."""
    for name, kinds in _TYPES.items():
        value: Any = content
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
            raise ValueError(f"checkpoint {source}: {name} is {shown(value)}, expected {expected}")
    texts = {key: content.get(key) for key in ("state_dict", "ema_state_dict")}
    texts["meta.dataset_meta.classes"] = ((content.get("meta") or {}).get("dataset_meta") or {}).get("classes")
    for name, found in texts.items():
        if strange := [one for one in found or () if not isinstance(one, str)]:
            raise ValueError(f"checkpoint {source}: {name} has the name {shown(strange[0])}, expected text")


def forbid_pickled_code() -> None:
    """Make every later `torch.load` of this process accept tensors and plain types only."""
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"


def _load(file: str | Path | BinaryIO, map_location: Any = None, weights_only: Any = None) -> Any:
    """Read a checkpoint as `mmengine.runner.checkpoint` asks for it; always weights only.

    Where `map_location` is no device the tensors stay on the CPU. `meta["config"]`, which mmengine runs as Python when
    it resumes, is left out.
    """
    device = map_location if isinstance(map_location, str | torch.device) else None
    is_path = isinstance(file, str | Path)
    content = load_checkpoint_file(Path(file).expanduser(), device) if is_path else load_torch_file(file, device=device)
    if isinstance(content, dict):
        check_parts(content, file if is_path else "from an open file")
        (content.get("meta") or {}).pop("config", None)
    return content


def _load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    """Do what `torch.hub.load_state_dict_from_url` does."""
    folder = Path(model_dir) if model_dir is not None else Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / (file_name or Path(urlparse(url).path).name)
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        match = torch.hub.HASH_REGEX.search(target.name) if check_hash else None
        torch.hub.download_url_to_file(url, str(target), match[1] if match else None, progress=progress)
    return _load(target, map_location)


def _history_attribute(owner: Any, name: str) -> Any:
    """Return a public method of mmengine's log history, which is all that its pickles need of `getattr`."""
    if owner is not HistoryBuffer or not isinstance(name, str) or name.startswith("_"):
        raise ValueError("a checkpoint asks for an attribute of something else than a log history; it was refused")
    return getattr(HistoryBuffer, name)


# Original mmengine, which this distribution of it took over, has no such list.
_list_of_mmengine = getattr(mmengine_checkpoint, "get_torch_safe_globals", list)


def _safe_globals() -> list:
    """Return mmengine's list for `torch.load(weights_only=True)`, with `_history_attribute` in place of `getattr`."""
    return [entry for entry in _list_of_mmengine() if entry is not getattr] + [(_history_attribute, "builtins.getattr")]


mmengine_checkpoint.CheckpointLoader.register_scheme(prefixes="", loader=_load, force=True)
mmengine_checkpoint.get_torch_safe_globals = _safe_globals
mmengine_checkpoint.load_from_local = _load
mmengine_checkpoint.load_url = _load_url
mmengine_checkpoint._safe_torch_load = _load


def save_weights(path: str | Path, weights: Mapping[str, Tensor], meta: Mapping[str, str]) -> None:
    """Write weights and their metadata as `{"meta", "state_dict"}`, or as safetensors by the suffix."""
    path = Path(path)
    if path.suffix != SAFETENSORS_SUFFIX:
        save_torch(path, {"meta": dict(meta), "state_dict": standalone(weights)})
        return
    write_whole(path, checkpoint_bytes(path.suffix, weights, meta))


def checkpoint_bytes(suffix: str, weights: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """Return the content of a file of weights, which `load_checkpoint_file` reads with the same meta.

    Args:
        suffix: `.safetensors`, or any other for a torch file.
        weights: What becomes `state_dict`.
        meta: Plain values: text, numbers, lists and dicts.
    """
    weights = standalone(weights)
    if suffix != SAFETENSORS_SUFFIX:
        buffer = io.BytesIO()
        torch.save({"meta": dict(meta), "state_dict": weights}, buffer)
        return buffer.getvalue()
    from safetensors.torch import save

    texts = {name: value for name, value in meta.items() if isinstance(value, str)}
    others = {name: value for name, value in meta.items() if name not in texts}
    return save(weights, metadata={**texts, _META_KEY: json.dumps(others)} if others else texts)


def save_torch(path: str | Path, content: Any) -> None:
    """Write what `torch.save` writes, under another name that is changed at the end."""
    # Into a file that Python opened, whose error says why; torch's writer knows no more than that something went wrong.
    with written_whole(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def standalone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies on the CPU: a view would drag its whole storage into a file."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}


def state_dict_of(checkpoint: Any, path: str | Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint: the dict itself, or what it keeps under `state_dict`, `model` or `module`."""
    for key in _STATE_DICT_KEYS if isinstance(checkpoint, Mapping) else ():
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    if not isinstance(checkpoint, Mapping) or not checkpoint:
        raise ValueError(f"checkpoint {path} holds no weights; expected a dict of tensors")
    _check_tensors(checkpoint, path)
    return {name.removeprefix("module."): value for name, value in checkpoint.items()}


def check_finite(weights: Mapping[str, Tensor], source: str | Path) -> None:
    """Refuse weights that hold NaN or infinity; `source` is such as "checkpoint x.pth"."""
    if broken := [name for name, value in weights.items() if not _is_finite(value)]:
        first = weights[broken[0]]
        count = int((~first.isfinite()).sum())
        raise ValueError(
            f"{source} holds values that are NaN or infinite in {shorten(broken)} ({count} of {first.numel()} in "
            f"{broken[0]}); it is damaged, or its training diverged. Take an earlier checkpoint"
        )


def _check_tensors(weights: Mapping, source: str | Path) -> None:
    """Refuse entries that are not dense tensors under names."""
    if strange := [str(name)[:100] for name, value in weights.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"checkpoint {source} holds entries that are not tensors: {shorten(strange)}")
    if nameless := [str(name)[:100] for name in weights if not isinstance(name, str)]:
        raise ValueError(f"checkpoint {source} holds tensors under keys that are no names: {shorten(nameless)}")
    if unusual := [name for name, value in weights.items() if not _is_plain_tensor(value)]:
        raise ValueError(
            f"checkpoint {source} holds tensors that are sparse, quantised, complex or without values: "
            f"{shorten(unusual)}; save them dense, as float32"
        )


def _is_plain_tensor(value: Tensor) -> bool:
    unusual = value.is_complex() or value.is_quantized or value.is_meta or value.is_nested
    return value.layout == torch.strided and not unusual


def _is_finite(value: Tensor) -> bool:
    has_fractions = value.is_floating_point() or value.is_complex()
    return value.is_meta or not has_fractions or bool(value.isfinite().all())


def check_state_dict(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    source: str | Path,
    *,
    may_miss: Iterable[str] = (),
    may_exceed: Iterable[str] = (),
    resizable: Iterable[str] = (),
    advice: str = "",
) -> None:
    """Refuse weights whose names, shapes or kinds of number are not those of the model, or that are not finite.

    The checkpoint need not hold the names in `may_miss`, the model those in `may_exceed`. `resizable` position tables
    are resized on loading: their number of positions (dimension 1) may differ. `advice` ends the message where shapes
    differ.
    """
    _check_tensors(found, source)
    common = [name for name in expected if name in found]
    if not common:
        raise ValueError(
            f"checkpoint {source} has no key in common with the model; it holds {shorten(found)}, the model expects "
            f"{shorten(expected)}. Is it another model's, or does it need tools/convert_checkpoint.py?"
        )
    wrong = {
        "wrong shapes": [
            f"{name} {tuple(found[name].shape)} where the model has {tuple(expected[name].shape)}"
            for name in common
            if not _shape_fits(found[name], expected[name], name in resizable)
        ],
        "wrong kinds of number": [
            f"{name} {found[name].dtype} where the model has {expected[name].dtype}"
            for name in common
            if found[name].is_floating_point() != expected[name].is_floating_point()
        ],
        "missing keys": [name for name in expected if name not in found and name not in may_miss],
        "unknown keys": [name for name in found if name not in expected and name not in may_exceed],
    }
    problems = [f"{what}: {shorten(names, 4 if 'wrong' in what else 8)}" for what, names in wrong.items() if names]
    if problems:
        remedy = f". {advice}" if advice and wrong["wrong shapes"] else ""
        raise ValueError(f"checkpoint {source} does not fit the model: " + "; ".join(problems) + remedy)
    # A table that has infinite values by design, such as an attention mask, has them in the model, too.
    broken = {name: found[name] for name in common if not _is_finite(found[name])}
    check_finite({name: value for name, value in broken.items() if _is_finite(expected[name])}, f"checkpoint {source}")
    wider = [name for name in common if found[name].dtype.itemsize > expected[name].dtype.itemsize]
    lost = [name for name in wider if name not in broken and not _is_finite(found[name].to(expected[name].dtype))]
    if lost:
        kind = expected[lost[0]].dtype
        raise ValueError(f"checkpoint {source} holds values beyond the range of the model's {kind}: {shorten(lost)}")


def _shape_fits(found: Tensor, expected: Tensor, resizable: bool) -> bool:
    if resizable and found.ndim == expected.ndim == 3:
        return found.shape[::2] == expected.shape[::2]
    return found.shape == expected.shape
