"""Optimizer wrappers that run on any device and wait for none: bfloat16, clipping, fused optimizers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from seitpp.engine.config_checks import name_and_scope
from seitpp.engine.late_scalars import log_scalar
from seitpp.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module(name="OptimWrapper")
class LateOptimWrapper(OptimWrapper):
    """mmengine's `OptimWrapper`, which by itself waits for the device at each step that clips, to log the norm.

    Args:
        **kwargs: Options of `OptimWrapper`.
    """

    def _clip_grad(self) -> None:
        weights = [one for group in self.optimizer.param_groups for one in group["params"] if one.grad is not None]
        norm = self.clip_func(weights, **self.clip_grad_kwargs) if weights else None
        if norm is not None:  # None of clipping by value
            log_scalar(self.message_hub, f"train/{self.grad_name}", norm)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(LateOptimWrapper):
    """Forward passes in bfloat16, on the CPU as on a GPU; bfloat16 keeps float32's range and needs no loss scale.

    Args:
        **kwargs: Options of `OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Accumulation as in the parent, inside autocast."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


def check_fused(config: Config) -> None:
    """Leave `fused=True` out of an optimizer's options where the device has no fused kernels of it; the log says so."""
    wrapper = config.get("optim_wrapper") or {}
    for part in (wrapper, *wrapper.values()):  # a model may have several optimizers, such as a discriminator's
        options = part.get("optimizer") if isinstance(part, dict) else None
        if not (options or {}).get("fused"):
            continue
        kind = name_and_scope({"type": "AdamW", **options})[0]
        if reason := _why_not_fused(kind, get_device()):
            del options["fused"]  # which some classes do not take at all
            print_log(f"{kind} is not fused on this device: {reason}", "current")


def _why_not_fused(kind: str, device: str) -> str | None:
    """Return torch's error about a fused optimizer on a device; None if there is none, or the class is not torch's."""
    optimizer = getattr(torch.optim, kind, None)
    if optimizer is None:
        return None
    weight = torch.zeros(1, device=device, requires_grad=True)
    weight.grad = torch.zeros_like(weight)
    try:
        optimizer([weight], lr=1.0, fused=True).step()
    except (RuntimeError, TypeError) as error:
        return " ".join(str(error).split())
    return None
