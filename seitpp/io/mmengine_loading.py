"""mmengine's checkpoint loader, made to read data alone, whoever calls it.

mmengine reads with a list of functions that lets a file reach any other, and unpickles what that refuses; addresses are
unpickled right away. A run's `load_from` and `resume`, `init_cfg`, and the inferencers of other projects all go through
it, so that reading checkpoints well in our own code protects nobody. `use_safe_loading` puts our reader in its place.
"""

from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import torch
from mmengine.logging.history_buffer import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint

from seitpp.io.safetensors_file import SAFETENSORS_SUFFIX, load_safetensors
from seitpp.io.torch_file import load_torch_file
from seitpp.io.untrusted import shown

# Original mmengine, which this distribution of it took over, has no such list.
_list_of_mmengine = getattr(mmengine_checkpoint, "get_torch_safe_globals", list)


def history_attribute(owner: Any, name: str) -> Any:
    """What the pickles of mmengine's log histories need of `getattr`: its public methods, and nothing else.

    Raises:
        ValueError: Something else is asked for.
    """
    if owner is not HistoryBuffer or not isinstance(name, str) or name.startswith("_"):
        raise ValueError("a checkpoint asks for an attribute of something else than a log history; it was refused")
    return getattr(HistoryBuffer, name)


def safe_globals() -> list:
    """mmengine's list for `torch.load(weights_only=True)`, with `history_attribute` in place of `getattr`."""
    return [entry for entry in _list_of_mmengine() if entry is not getattr] + [(history_attribute, "builtins.getattr")]


def load(file: str | Path | BinaryIO, map_location: Any = None, weights_only: Any = None) -> Any:
    """Read a checkpoint as `mmengine.runner.checkpoint` asks for it; see `load_torch_file`.

    `meta["config"]`, which mmengine runs as Python when it resumes, is left out.

    Args:
        file: A path, or an open file.
        map_location: A device; where it is anything else the tensors stay on the CPU.
        weights_only: Nothing; it is always so.
    """
    device = map_location if isinstance(map_location, str | torch.device) else None
    if isinstance(file, str | Path) and Path(file).suffix == SAFETENSORS_SUFFIX:
        return load_safetensors(file, device)
    content = load_torch_file(file, device=device)
    if isinstance(content, dict):
        check_parts(content, file if isinstance(file, str | Path) else "from an open file")
        (content.get("meta") or {}).pop("config", None)
    return content


# Types of what mmengine and the hooks take out of a checkpoint without looking, by its dotted place.
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


def check_parts(content: dict, source: str | Path) -> None:
    """Refuse parts of other types than those that mmengine and the hooks take them for."""
    for place, kinds in _TYPES.items():
        value: Any = content
        for key in place.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, kinds):
            expected = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
            raise ValueError(f"checkpoint {source}: {place} is {shown(value)}, expected {expected}")
    texts = {name: content.get(name) for name in ("state_dict", "ema_state_dict")}
    texts["meta.dataset_meta.classes"] = ((content.get("meta") or {}).get("dataset_meta") or {}).get("classes")
    for place, names in texts.items():
        if strange := [name for name in names or () if not isinstance(name, str)]:
            raise ValueError(f"checkpoint {source}: {place} has the name {shown(strange[0])}, expected text")


def load_from_local(filename: str, map_location: Any) -> Any:
    """Read a checkpoint from a file; `~` is the user's folder."""
    return load(Path(filename).expanduser(), map_location)


def load_url(
    url: str,
    model_dir: str | None = None,
    map_location: Any = None,
    progress: bool = True,
    check_hash: bool = False,
    file_name: str | None = None,
) -> Any:
    """Download a checkpoint where `torch.hub` would keep it, unless it is there, and read it.

    Arguments are those of `torch.hub.load_state_dict_from_url`.
    """
    folder = Path(model_dir) if model_dir is not None else Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / (file_name or Path(urlparse(url).path).name)
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        match = torch.hub.HASH_REGEX.search(target.name) if check_hash else None
        torch.hub.download_url_to_file(url, str(target), match[1] if match else None, progress=progress)
    return load(target, map_location)


def use_safe_loading() -> None:
    """Put these functions into mmengine, for this process."""
    mmengine_checkpoint.CheckpointLoader.register_scheme(prefixes="", loader=load_from_local, force=True)
    for name, function in {
        "get_torch_safe_globals": safe_globals,
        "load_from_local": load_from_local,
        "load_url": load_url,
        "_safe_torch_load": load,
    }.items():
        setattr(mmengine_checkpoint, name, function)
