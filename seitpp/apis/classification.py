"""Predictions of a trained classifier for images or tokens, through an inferencer like mmpretrain's."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmpretrain.apis.base import BaseInferencer
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image
from torch import Tensor, nn

from seitpp.apis.inputs import ClassifierInputs, ImageInputs, TokenInputs, images_in, is_store
from seitpp.apis.loading import check_classifier, check_grid, give_tokenizer, load_classifier
from seitpp.engine.guards.finite import predicted_scores
from seitpp.io.atomic_write import written_whole
from seitpp.io.devices import check_device
from seitpp.io.progress import progress_bar
from seitpp.registry import INFERENCERS
from seitpp.storage import StoreReader
from seitpp.structures.batch import TokenBatch
from seitpp.tokenizers import Tokenizer, tokenizer_from_store
from seitpp.tokenizers.identity import check_same_tokenizer

# Smaller pictures are enlarged until the text on them can be read.
_LEGIBLE = 224

InputType: TypeAlias = str | Path | np.ndarray | Tensor | Sequence[str | Path | np.ndarray] | ClassifierInputs


@INFERENCERS.register_module()
class TokenClassificationInferencer(BaseInferencer):
    """Classes of images and of stored tokens.

    Images are resized, tokenised and classified with the same scores as a store of them. As in mmpretrain, arrays of
    images are BGR, as OpenCV reads them.

    Args:
        model: A config or its path, or a classifier that is built.
        pretrained: Checkpoint, read as tensors only; needed unless `model` is built.
        device: Where to compute; by default an accelerator if there is one, or where a built model is.
        tokenizer: Makes tokens of images: a tokenizer's config, a file of configs/tokenizers/, or the folder of a token
            store that it made. Not needed for tokens, nor where the model's data preprocessor has one.
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
    _task = "classify"
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
        if device is not None:
            check_device(str(device))
        if isinstance(model, nn.Module):
            if pretrained is not None:
                raise ValueError(f"the model is built, so it has its weights; leave out pretrained ({pretrained})")
            self._check(model, "the inferencer")
        elif pretrained is None:
            raise ValueError("pretrained is None; name the checkpoint, predictions of random weights mean nothing")
        else:
            model = self._load(model, pretrained, compare_grids=compare_grids)
            device = device or get_device()
        if tokenizer is not None:
            give_tokenizer(model, tokenizer)
        model._config = getattr(model, "_config", None)
        super().__init__(model, pretrained=None, device=device)
        names = getattr(self.model, "_dataset_meta", {}).get("classes") if classes is None else classes
        if names is not None and len(names) != self.num_classes:
            who = "the checkpoint names" if classes is None else "classes names"
            raise ValueError(
                f"{who} {len(names)} classes, the model has {self.num_classes}; expected one name for each"
            )
        self.classes = None if names is None else list(names)
        self.compare_grids = compare_grids

    @property
    def num_classes(self) -> int:
        return self.model.head.num_classes

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of images, on the model's device; None if there is none."""
        return self.model.data_preprocessor.tokenizer

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
            inputs: Path or address of an image file; folder of image files; folder of a token store; array of an
                image, (H, W, 3) in the order BGR, or (H, W), uint8; list of paths and arrays; or tensor of tokens,
                (N, H, W) or (H, W), integers, with a last axis of channels where there is no codebook.
            return_datasamples: Whether to return mmpretrain's `DataSample`s instead of dicts.
            batch_size: Samples at a time.
            indices: Samples of a token store, in this order; by default all.
            **kwargs: `topk`: how many classes a result lists, best first (default 5, or all that there are).
                `show_dir`: folder for pictures, a PNG file per sample; stored tokens are decoded for them. `show`,
                `wait_time`: whether to open each in a window, and for how many seconds (0: until closed). `resize`:
                length of a picture's short edge, by default at least 224 pixels; `rescale_factor`; `draw_score`.

        Returns:
            A dict for each sample: `pred_scores`, (classes,), float32, summing to 1; `pred_label`, `pred_score` and,
            where names are known, `pred_class` of the best; `topk`, a list of dicts with `label`, `score` and `class`.

        Raises:
            FileNotFoundError: Nothing lies at a path.
            ValueError: An input cannot be read, does not fit the model, or lacks the tokenizer that it needs; or
                scores are NaN or infinite.
            IndexError: The store has no such sample.
        """
        for name, value in (("batch_size", batch_size), ("topk", kwargs.get("topk", 1))):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a positive integer")
        preprocessing, forwarding, drawing, finishing = self._dispatch_kwargs(**kwargs)
        pictured = bool(drawing.get("show")) or drawing.get("show_dir") is not None
        opened = inputs if isinstance(inputs, ClassifierInputs) else self.open(inputs, indices, pictured)
        if not len(opened):
            raise ValueError(f"there is nothing to {self._task}: the list of inputs, or of indices, is empty")
        predictions: list[DataSample] = []
        with progress_bar(f"{self._task}ing", "samples") as progress:  # mmpretrain's own goes to standard output
            for batch in self.preprocess(opened, batch_size, **preprocessing):
                found = self.forward(batch, **forwarding)
                _check_scores(found, len(predictions))
                predictions += found
                progress(len(predictions), len(opened))
        pictures = self.visualize(opened, predictions, **drawing)
        return self.postprocess(predictions, pictures, return_datasamples, **finishing)

    def open(self, inputs: InputType, indices: Sequence[int] | None = None, pictured: bool = False) -> ClassifierInputs:
        """Open inputs of `__call__` as samples with names, which it takes, too; `pictured` if pictures are wanted."""
        if isinstance(inputs, (str, Path)) and is_store(inputs):
            return self._stored(StoreReader(inputs), indices, pictured)
        if indices is not None:
            raise ValueError(f"indices are samples of a token store; {_brief(inputs)} is none")
        if isinstance(inputs, Tensor):
            return TokenInputs(self._checked_tokens(inputs), self._decoder(pictured))
        if self.tokenizer is None:
            raise ValueError(
                f"{_brief(inputs)} must be tokenised first, and no tokenizer is known; pass tokenizer: a file of "
                "configs/tokenizers/, or the folder of a token store of the model's training"
            )
        if isinstance(inputs, (str, Path)) and Path(inputs).is_dir():
            inputs = images_in(inputs)
        self._check_grid(self.tokenizer.grid, "the tokenizer")
        several = isinstance(inputs, (list, tuple))
        return ImageInputs(inputs if several else [inputs], self.tokenizer)

    def _stored(self, reader: StoreReader, indices: Sequence[int] | None, pictured: bool) -> TokenInputs:
        preprocessor = self.model.data_preprocessor
        stored = {"channels": reader.channels, "codebook_sha256": reader.codebook_sha256}
        check_same_tokenizer(stored, str(reader.path), preprocessor.identity, "the model's training data")
        self._check_grid(reader.grid, str(reader.path))
        if self.classes is None and reader.classes is not None and len(reader.classes) == self.num_classes:
            self.classes = list(reader.classes)
        return TokenInputs(reader, self._decoder(pictured, reader), indices)

    def _checked_tokens(self, tokens: Tensor) -> Tensor:
        preprocessor = self.model.data_preprocessor
        channels, codebook = preprocessor.channels, preprocessor.codebook
        axes = ("H", "W") if channels is None else ("H", "W", str(channels))
        if tokens.is_floating_point() or tokens.dtype == torch.bool or tokens.ndim not in (len(axes), 1 + len(axes)):
            raise ValueError(
                f"tokens are {tokens.dtype} of shape {tuple(tokens.shape)}; expected integers (N, {', '.join(axes)})"
            )
        if not tokens.numel():
            raise ValueError(f"tokens of shape {tuple(tokens.shape)} hold no sample")
        if codebook is not None and (tokens.min() < 0 or tokens.max() >= len(codebook)):
            raise ValueError(
                f"tokens lie in [{tokens.min()}, {tokens.max()}]; the model has codes in [0, {len(codebook)})"
            )
        tokens = tokens if tokens.ndim > len(axes) else tokens[None]
        self._check_grid(tokens.shape[1:3], f"the tensor {tuple(tokens.shape)}")
        return tokens

    def _check_grid(self, grid: Sequence[int], where: str) -> None:
        if self.compare_grids:
            check_grid(self.model, grid, where)

    def _decoder(self, pictured: bool, reader: StoreReader | None = None) -> Tokenizer | None:
        """Return what decodes tokens: the model's tokenizer or the store's; None if no picture is wanted."""
        if not pictured:
            return None
        tokenizer = self.tokenizer
        if tokenizer is None and reader is not None:
            tokenizer = tokenizer_from_store(reader).eval().to(self.model.data_preprocessor.device)
        if tokenizer is None or not tokenizer.can_decode:
            reason = "no tokenizer is known" if tokenizer is None else f"{type(tokenizer).__name__} has no decoder"
            raise ValueError(
                f"pictures of tokens need a tokenizer that decodes them, and {reason}; pass one with its decoder as "
                "tokenizer, or leave out show and show_dir"
            )
        return tokenizer

    def _init_pipeline(self, cfg: Config | None) -> None:
        """Do nothing: inputs are prepared batch by batch."""

    def preprocess(self, inputs: ClassifierInputs, batch_size: int = 1) -> Iterator[TokenBatch]:
        """Yield batches for the model's data preprocessor."""
        return inputs.batches(batch_size)

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
    ) -> list[np.ndarray] | None:
        """Draw each prediction on the image of its sample, (H, W, 3), RGB, uint8; see `__call__`."""
        if not show and show_dir is None:
            return None
        if self.visualizer is None:
            self.visualizer = UniversalVisualizer()
        pictures = []
        for index, sample in enumerate(preds):
            picture = inputs.picture(index)
            enlarged = _LEGIBLE if min(picture.shape[:2]) < _LEGIBLE and rescale_factor is None else None
            drawn = self.visualizer.visualize_cls(
                picture,
                sample,
                classes=self.classes,
                resize=resize or enlarged,
                rescale_factor=rescale_factor,
                draw_gt=False,
                draw_score=draw_score,
                show=show,
                wait_time=wait_time,
                name=inputs.names[index],
            )
            if show_dir is not None:
                with written_whole(inputs.picture_path(show_dir, index)) as temporary:
                    Image.fromarray(drawn).save(temporary, format="png")
            pictures.append(drawn)
        if show:
            self.visualizer.close()
        return pictures

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

    def _result(self, scores: np.ndarray, labels: list[int], label_scores: list[float]) -> dict[str, Any]:
        ranked = [{"label": label, "score": score} for label, score in zip(labels, label_scores, strict=True)]
        if self.classes is not None:
            ranked = [{**entry, "class": self.classes[entry["label"]]} for entry in ranked]
        best = {f"pred_{key}": value for key, value in ranked[0].items()}
        return {"pred_scores": scores, **best, "topk": ranked}


def _check_scores(predictions: Sequence[Any], before: int) -> None:
    """Refuse scores that are NaN or infinite; `before` samples were classified before these."""
    for number, sample in enumerate(predictions, before):
        for name, value in predicted_scores(sample):
            if not value.isfinite().all():
                raise ValueError(
                    f"sample {number} has NaN or infinite values in {name}: the model's weights have diverged or do "
                    "not suit the data's range; take an earlier checkpoint"
                )


def _brief(inputs: InputType) -> str:
    return str(inputs) if isinstance(inputs, (str, Path)) else f"a {type(inputs).__name__}"
