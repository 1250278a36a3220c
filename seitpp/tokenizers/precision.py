"""Precision of the networks: bfloat16 where asked for, and float32 that a GPU does not shorten to TF32."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_float32(device_type: str) -> Iterator[None]:
    """Compute float32 products and convolutions in full on a GPU, whose convolutions keep 10 bits by default (TF32).

    Does nothing on other devices. The switches are global to the process; they are restored.
    """
    if device_type != "cuda":
        yield
        return
    switches = _switches()
    before = [getattr(owner, name) for owner, name, _ in switches]
    try:
        for owner, name, exact in switches:
            setattr(owner, name, exact)
        yield
    finally:
        for (owner, name, _), value in zip(switches, before, strict=True):
            setattr(owner, name, value)


def _switches() -> list[tuple[object, str, object]]:
    """Return owner, name and exact value; PyTorch 2.9 has new ones and complains where old and new are mixed."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(convolutions, "conv"):
        return [(products, "fp32_precision", "ieee"), (convolutions.conv, "fp32_precision", "ieee")]
    return [(products, "allow_tf32", False), (convolutions, "allow_tf32", False)]


@contextmanager
def network_precision(device_type: str, precision: str) -> Iterator[None]:
    """Autocast to bfloat16, or compute in exact float32 even inside another autocast."""
    with torch.autocast(device_type, torch.bfloat16, enabled=precision == "bfloat16"), exact_float32(device_type):
        yield
