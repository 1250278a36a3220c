"""What the kinds of data have in common: fetching samples as the loader does, and naming their targets."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from torch import Tensor

from seitpp.engine.config_checks import check_model
from seitpp.registry import DATASETS
from seitpp.visualization.dataset_page import BrowsedSample
from seitpp.visualization.label_pictures import class_colours, overlay, resized


class Browser(ABC):
    """What the kinds of data have in common.

    Attributes:
        dataset: The data set of the phase.
        notes: What readers of the pictures need to know.
        kind: What a sample is, for people.
    """

    kind = "images"

    def __init__(self, config: Config, phase: str) -> None:
        check_model(config)
        loader = config.get(f"{phase}_dataloader")
        if loader is None:
            has = [name for name in ("train", "val", "test") if config.get(f"{name}_dataloader") is not None]
            raise ValueError(
                f"the config has no {phase}_dataloader, and so no data of this phase; it has {', '.join(has) or 'none'}"
            )
        self.config, self.phase, self.training = config, phase, phase == "train"
        self.dataset = DATASETS.build(loader.dataset)
        if hasattr(self.dataset, "full_init"):
            self.dataset.full_init()
        self.collate = collate_of(loader)
        self.notes: list[str] = []

    @property
    def legend(self) -> list[tuple[Tensor, str]]:
        """Colours of the classes of label maps, with their names; empty where there are none."""
        metainfo = getattr(self.dataset, "metainfo", {})
        palette = metainfo.get("palette")
        return class_colours(metainfo["classes"], palette) if palette and metainfo.get("classes") else []

    @property
    def classes(self) -> Sequence[str] | None:
        return getattr(self.dataset, "metainfo", {}).get("classes")

    def class_name(self, index: int) -> str:
        classes = self.classes
        return str(classes[index]) if classes is not None and index < len(classes) else f"class {index}"

    def batch(self, indices: Sequence[int]) -> Any:
        """Fetch samples and collate them, as the loader does."""
        fetch = getattr(self.dataset, "__getitems__", None)
        samples = fetch(list(indices)) if fetch is not None else [self.dataset[index] for index in indices]
        return self.collate(samples)

    @abstractmethod
    def samples(self, indices: Sequence[int], num_draws: int) -> list[BrowsedSample]:
        """Return samples with what the data set gives, and with so many draws of the augmentations."""

    def targets(self, sample: Any) -> str:
        """Say what a `DataSample` is to be predicted as, with weights where samples were mixed."""
        if sample is None:
            return ""
        if "gt_score" in sample:
            order = torch.argsort(sample.gt_score, descending=True)[:3].tolist()
            parts = [(self.class_name(one), float(sample.gt_score[one])) for one in order]
            return ", ".join(f"{name} ({weight:.0%})" for name, weight in parts if weight > 0.005)
        if "gt_label" in sample:
            return ", ".join(self.class_name(int(one)) for one in sample.gt_label.flatten())
        return ""

    def with_labels(self, image: Tensor, sample: Any) -> list[tuple[str, str, Tensor]]:
        """Return a picture of a sample's label map over its image (C, H, W), if it has one."""
        if sample is None or "gt_sem_seg" not in sample:
            return []
        labels = sample.gt_sem_seg.data[0]
        painted = overlay(resized(image, tuple(labels.shape)), labels, self.dataset.metainfo["palette"])
        return [("label map", "", painted)]


def collate_of(loader: Any) -> Any:
    """Return the function that makes a batch of samples, as mmengine's runner finds it."""
    options = dict(loader.get("collate_fn") or {"type": "pseudo_collate"})
    kind = options.pop("type")
    function = kind if callable(kind) else FUNCTIONS.get(kind)
    if function is None:
        return pseudo_collate
    return (lambda samples: function(samples, **options)) if options else function
