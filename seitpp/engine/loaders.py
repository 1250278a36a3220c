"""Loaders as the machine and the memory of their data allow: page-locked copies to a GPU, and worker processes."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config

_LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def fit_loaders(config: Config) -> None:
    """Switch off `pin_memory` of loaders whose batches cannot be page-locked: without a GPU, or when they lie on it.

    Raises:
        ValueError: A loader has worker processes, and its data lie where only this process can fetch them.
    """
    for name in _LOADERS:
        loader = config.get(name)
        if not isinstance(loader, Mapping):
            continue
        devices = {str(part.get("device")).split(":")[0] for part in _dicts(loader.get("dataset"))}
        if devices & {"cuda", "pinned"} and loader.get("num_workers", 0):
            raise ValueError(
                f"{name}.num_workers is {loader.num_workers}, but its data lie in the memory of a GPU, or page-locked "
                "(dataset.device), where worker processes cannot fetch them; set num_workers=0 and "
                "persistent_workers=False"
            )
        if "cuda" in devices or not torch.cuda.is_available():
            loader.pin_memory = False


def _dicts(node: Any) -> Iterator[Mapping]:
    if isinstance(node, Mapping):
        yield node
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, (list, tuple)) else ():
        yield from _dicts(child)
