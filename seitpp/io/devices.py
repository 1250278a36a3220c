"""Names of devices, checked before anything is moved there."""

import torch


def check_device(name: str) -> str:
    """Return the name of a device; raise `ValueError` if it is none, or the machine has no such device."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device {name!r} is none; expected cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f"device {name!r}: no GPU is available here; use cpu")
        if device.index is not None and device.index >= torch.cuda.device_count():
            raise ValueError(f"device {name!r}: there are {torch.cuda.device_count()} GPUs here, counted from 0")
    return name
