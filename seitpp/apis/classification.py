"""Predictions of a trained classifier for images or tokens, through an inferencer like mmpretrain's."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image
from torch import nn

from seitpp.apis.base import InputType, TokenInferencer
from seitpp.apis.inputs import ClassifierInputs
from seitpp.apis.loading import check_classifier, load_classifier
from seitpp.io.atomic_write import written_whole
from seitpp.registry import INFERENCERS
from seitpp.visualization.fitted_text import name_in_lines

# Smaller pictures are enlarged until the text on them can be read.
_LEGIBLE = 224


@INFERENCERS.register_module()
class TokenClassificationInferencer(TokenInferencer):
    """Classes of images and of stored tokens.

    Images are resized, tokenised and classified with the same scores as a store of them. As in mmpretrain, arrays of
    images are BGR, as OpenCV reads them.

    Args:
        model: A config, its path, or the name of one that comes with the package; or a classifier that is built.
        pretrained: Checkpoint, read as tensors only; needed unless `model` is built.
        device: Where to compute; by default an accelerator if there is one, or where a built model is.
        tokenizer: Makes tokens of images: a tokenizer's config, a file of configs/tokenizers/, or the folder of a token
            store that it made. By default that of the data preprocessor, or of a store that the config names.
        classes: Class names; by default those of the checkpoint, else of the store that is classified.
        compare_grids: Whether to refuse another grid of tokens, or another crop, than the model was trained on.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Model, checkpoint, tokenizer and class names do not fit each other.

    Example:
        >>> inferencer = TokenClassificationInferencer(config, checkpoint, tokenizer="data/imagenet100-tokens/val")
        >>> inferencer("bird.jpg", topk=2)
        [{'pred_scores': array([...]), 'pred_label': 65, 'pred_score': 0.66, 'pred_class': 'sea snake',
          'topk': [{'label': 65, 'score': 0.66, 'class': 'sea snake'}, {...}]}]
    """

    visualize_kwargs = {"resize", "rescale_factor", "draw_score", "show", "show_dir", "wait_time"}
    postprocess_kwargs = {"topk"}
    _task, _doing = "classify", "classifying"
    _load, _check = staticmethod(load_classifier), staticmethod(check_classifier)

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        pretrained: str | Path | None = None,
        device: str | torch.device | None = None,
        tokenizer: Mapping | str | Path | None = None,
        classes: Sequence[str] | None = None,
        compare_grids: bool = True,
    ) -> None:
        super().__init__(model, pretrained, device, tokenizer, compare_grids)
        self.classes = self._class_names(classes)

    @property
    def num_classes(self) -> int:
        return self.model.head.num_classes

    def __call__(
        self,
        inputs: InputType,
        return_datasamples: bool = False,
        batch_size: int = 32,
        indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]] | list[DataSample]:
        """Classify.

        Args:
            inputs: Path or address of an image file; folder of images, with those of its sub-folders; folder of a token
                store; a PIL image of any mode; array of an image, (H, W, 3) in the order BGR, or (H, W), uint8; list
                of these; or tensor of tokens, (N, H, W) or (H, W), integers, with a last axis of channels where there
                is no codebook.
            return_datasamples: Whether to return mmpretrain's `DataSample`s instead of dicts.
            batch_size: Samples at a time.
            indices: Samples of a token store, in this order; by default all.
            **kwargs: `topk`: how many classes a result lists, best first (default 5, or all that there are).
                `show_dir`: folder for pictures, a PNG file per sample; stored tokens are decoded for them. `pred_dir`:
                folder for results as JSON. `out_dir`: both, in its folders `vis` and `pred`. Files have the names of
                their images, in the sub-folders where these lie. `show`, `wait_time`: whether to open each in a
                window, and for how many seconds (0: until closed). `resize`: length of a picture's short edge, by
                default at least 224 pixels; `rescale_factor`; `draw_score`.

        Returns:
            A dict for each sample: `pred_scores`, (classes,), float32, summing to 1; `pred_label`, `pred_score` and,
            where names are known, `pred_class` of the best; `topk`, a list of dicts with `label`, `score` and `class`.

        Raises:
            FileNotFoundError: Nothing lies at a path.
            ValueError: An input cannot be read, does not fit the model, or lacks the tokenizer that it needs; or
                scores are NaN or infinite.
            IndexError: The store has no such sample.
        """
        return super().__call__(inputs, return_datasamples, batch_size, indices, **kwargs)

    def visualize(
        self,
        inputs: ClassifierInputs,
        preds: list[DataSample],
        show: bool = False,
        wait_time: float = 0,
        resize: int | None = None,
        rescale_factor: float | None = None,
        draw_score: bool = True,
        show_dir: str | Path | None = None,
        first: int = 0,
    ) -> list[np.ndarray] | None:
        """Draw each prediction on the image of its sample, (H, W, 3), RGB, uint8; see `__call__`.

        `first` is the number of the first sample among the inputs.
        """
        if not show and show_dir is None:
            return None
        if self.visualizer is None:
            self.visualizer = UniversalVisualizer()
        pictures = []
        for index, sample in enumerate(preds, first):
            picture = inputs.picture(index)
            enlarged = _LEGIBLE if min(picture.shape[:2]) < _LEGIBLE and rescale_factor is None else None
            drawn = self.visualizer.visualize_cls(
                picture,
                sample,
                classes=self._names_in(picture, sample, resize or enlarged, rescale_factor),
                resize=resize or enlarged,
                rescale_factor=rescale_factor,
                draw_gt=False,
                draw_score=draw_score,
                show=show,
                wait_time=wait_time,
                name=inputs.names[index],
            )
            if show_dir is not None:
                with written_whole(inputs.output_path(show_dir, index)) as temporary:
                    Image.fromarray(drawn).save(temporary, format="png")
            pictures.append(drawn)
        if show:
            self.visualizer.close()
        return pictures

    def _names_in(
        self, picture: np.ndarray, sample: DataSample, resize: int | None, rescale_factor: float | None
    ) -> dict[int, str] | None:
        """Return the names of predicted classes, broken into lines that the drawn picture has room for."""
        if self.classes is None:
            return None
        height, width = picture.shape[:2]
        factor = rescale_factor or 1 if resize is None else resize / min(height, width)
        size = (round(height * factor), round(width * factor))
        return {label: name_in_lines(self.classes[label], *size) for label in sample.pred_label.tolist()}

    def postprocess(
        self,
        preds: list[DataSample],
        visualization: list[np.ndarray] | None,
        return_datasamples: bool = False,
        topk: int = 5,
    ) -> list[dict[str, Any]] | list[DataSample]:
        if return_datasamples:
            return preds
        scores = torch.stack([sample.pred_score for sample in preds]).float().cpu()
        # Stable, so that of equal scores the lowest class comes first, as with argmax.
        best_scores, best = (part[:, :topk].tolist() for part in scores.sort(dim=1, descending=True, stable=True))
        return [self._result(row, best[index], best_scores[index]) for index, row in enumerate(scores.numpy())]

    def _write_prediction(self, sample: DataSample, path: Path) -> None:
        (result,) = self.postprocess([sample], None)
        path.write_text(json.dumps({**result, "pred_scores": result["pred_scores"].tolist()}) + "\n", encoding="utf-8")

    def _result(self, scores: np.ndarray, labels: list[int], label_scores: list[float]) -> dict[str, Any]:
        ranked = [{"label": label, "score": score} for label, score in zip(labels, label_scores, strict=True)]
        if self.classes is not None:
            ranked = [{**entry, "class": self.classes[entry["label"]]} for entry in ranked]
        best = {f"pred_{key}": value for key, value in ranked[0].items()}
        return {"pred_scores": scores, **best, "topk": ranked}
