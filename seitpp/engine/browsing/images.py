"""Images through a pipeline and a data preprocessor of mmpretrain's or mmseg's kind."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from seitpp.engine.browsing.base import Browser
from seitpp.registry import MODELS
from seitpp.visualization.dataset_page import BrowsedSample


class ImageBrowser(Browser):
    """Images through a pipeline and a data preprocessor of mmpretrain's or mmseg's kind: tokenizers, classifiers."""

    def __init__(self, config: Config, phase: str) -> None:
        super().__init__(config, phase)
        model = config.get("model", {})
        options = dict(model.get("data_preprocessor") or config.get("data_preprocessor") or {})
        options.setdefault("type", _default_preprocessor(model))
        if options["type"].endswith("ClsDataPreprocessor"):
            options.setdefault("batch_augments", model.get("train_cfg"))
        self.preprocessor = MODELS.build(options)
        # Where images are converted on the way, the data set gives BGR, as OpenCV reads.
        conversion = ("to_rgb", "_channel_conversion", "channel_conversion")
        self.is_bgr = any(getattr(self.preprocessor, name, False) for name in conversion)

    @torch.no_grad()
    def samples(self, indices: Sequence[int], num_draws: int) -> list[BrowsedSample]:
        found = [self._original(index) for index in indices]
        for draw in range(num_draws if self.training else 1):
            batch = self.batch(indices)
            out = self.preprocessor(batch, training=self.training)
            samples = out.get("data_samples") or [None] * len(found)
            label = f"draw {draw + 1}" if self.training else "model's input"
            for name, views in _views(out["inputs"], label):
                for row, sample in enumerate(found):
                    image = self._shown(self._denormalised(views[row]), False)
                    sample.pictures.append((name, self.targets(samples[row]), image))
                    sample.pictures += self.with_labels(image, samples[row])
        return found

    def _original(self, index: int) -> BrowsedSample:
        """Return a sample with its image before the pipeline, where the data set tells it."""
        steps = getattr(getattr(self.dataset, "pipeline", None), "transforms", [])
        if not steps or not hasattr(self.dataset, "get_data_info"):
            return BrowsedSample(index)
        info = self.dataset.get_data_info(index)
        label = info.get("gt_label")
        sample = BrowsedSample(index, self.class_name(int(label)) if np.ndim(label) == 0 and label is not None else "")
        loaded = info if "img" in info else steps[0](dict(info))
        if loaded is not None and "img" in loaded:
            image = torch.from_numpy(np.ascontiguousarray(np.atleast_3d(loaded["img"]))).movedim(-1, 0)
            sample.pictures.append(("image", "", self._shown(image, self.is_bgr)))
        return sample

    def _denormalised(self, image: Tensor) -> Tensor:
        mean, std = (getattr(self.preprocessor, name, None) for name in ("mean", "std"))
        if mean is None or std is None or not image.is_floating_point():
            return image
        return image * std.reshape(-1, 1, 1) + mean.reshape(-1, 1, 1)

    @staticmethod
    def _shown(image: Tensor, is_bgr: bool) -> Tensor:
        image = image.float().round().clamp(0, 255).to(torch.uint8)
        return image.flip(0) if is_bgr and len(image) == 3 else image


def class_of(options: Any) -> type | None:
    """Return the class of a model's or a data preprocessor's config; None where it names none."""
    kind = options.get("type")
    return MODELS.get(kind) if isinstance(kind, str) else kind


def _default_preprocessor(model: Any) -> str:
    """Return the data preprocessor that a library's model builds where a config names none."""
    if "decode_head" in model:
        return "mmseg.SegDataPreProcessor"
    found = class_of(model)
    supervised = found is None or not any(base.__name__ == "BaseSelfSupervisor" for base in found.__mro__)
    return "mmpretrain.ClsDataPreprocessor" if supervised else "mmpretrain.SelfSupDataPreprocessor"


def _views(inputs: Any, label: str) -> list[tuple[str, Any]]:
    """Return the views of a batch's samples with labels; most have one."""
    if isinstance(inputs, (list, tuple)) and len(inputs) and isinstance(inputs[0], (list, tuple)):
        return [(f"{label}, view {number + 1}", view) for number, view in enumerate(inputs)]
    if isinstance(inputs, (list, tuple)) and len(inputs) and inputs[0].ndim == 4:
        return [(f"{label}, view {number + 1}", view) for number, view in enumerate(inputs)]
    return [(label, inputs)]
