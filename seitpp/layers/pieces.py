"""Batches through a network in pieces: as small as a CPU's caches like them, as large as an accelerator's memory."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_pieces(
    function: Callable[[Tensor], Tensor], batch: Tensor, positions: int, on_cpu: int, on_accelerator: int
) -> Tensor:
    """Run a network on a part of the batch at a time.

    On a CPU a thread's activations then stay near its caches; on an accelerator the bound keeps those of large batches
    from filling the memory.

    Args:
        function: Takes samples (b, ...) and gives as many results.
        batch: All samples (B, ...).
        positions: Tokens or pixels per sample.
        on_cpu: Tokens or pixels at a time per thread of a CPU.
        on_accelerator: Tokens or pixels at a time elsewhere.

    Returns:
        The results, (B, ...).
    """
    most = on_cpu * torch.get_num_threads() if batch.device.type == "cpu" else on_accelerator
    results = [function(piece) for piece in batch.split(max(1, most // max(1, positions)))]
    return results[0] if len(results) == 1 else torch.cat(results)
