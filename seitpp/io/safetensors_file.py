"""Files of the safetensors library: tensors and lines of text, no pickles."""

from pathlib import Path
from typing import Any

from seitpp.io.untrusted import check_regular_file, parsing

SAFETENSORS_SUFFIX = ".safetensors"


def load_safetensors(path: str | Path, device: Any = None) -> dict[str, Any]:
    """The content of a `.safetensors` file.

    Args:
        path: The file.
        device: Where the tensors go; the CPU by default.

    Returns:
        Its text metadata as `meta` and its tensors as `state_dict`.

    Raises:
        FileNotFoundError: Nothing lies at `path`.
        ValueError: It is damaged, or no such file.
    """
    from safetensors import SafetensorError, safe_open

    path = check_regular_file(path, "checkpoint")
    device = "cpu" if device is None else str(device)
    try:
        with parsing(f"checkpoint {path}", "a safetensors file"), safe_open(path, "pt", device) as file:
            meta = dict(file.metadata() or {})
            return {"meta": meta, "state_dict": {name: file.get_tensor(name) for name in file.keys()}}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"checkpoint {path} is not a readable safetensors file: {error}") from error
