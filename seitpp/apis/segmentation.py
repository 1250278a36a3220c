"""Label maps of images and of stored tokens, by a trained segmentor."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from PIL import Image
from torch import nn

from seitpp.apis.base import InputType, TokenInferencer
from seitpp.apis.inputs import ClassifierInputs
from seitpp.apis.loading import check_segmentor, load_segmentor
from seitpp.images.label_maps import distinct_colours
from seitpp.io.atomic_write import written_whole
from seitpp.io.untrusted import parsing
from seitpp.registry import INFERENCERS
from seitpp.structures.batch import TokenBatch
from seitpp.visualization.label_pictures import OPACITY, check_opacity, segmentation_picture


@INFERENCERS.register_module()
class TokenSegInferencer(TokenInferencer):
    """Label maps of images and of stored tokens.

    An image is resized and tokenised as for a store; its label map has the size of the image, or of the part that the
    tokenizer cuts out.

    Args:
        model: As `pretrained`, `device`, `tokenizer`, `classes` and `compare_grids`: see
            `TokenClassificationInferencer`, with a segmentor in place of the classifier.
        palette: A colour per class, RGB, for pictures; by default the checkpoint's.

    Example:
        >>> inferencer = TokenSegInferencer(config, checkpoint, tokenizer="data/ade20k-tokens/val")
        >>> inferencer("street.jpg", show_dir="shown")
        [{'pred_sem_seg': array([[2, 2, ...]]), 'classes': {'sky': 0.41, 'road': 0.3, 'car': 0.29}}]
    """

    visualize_kwargs = {"show_dir", "show", "opacity"}
    postprocess_kwargs: set[str] = set()
    _batch_size, _pred_suffix = 8, ".png"
    _task, _doing = "segment", "segmenting"
    _load, _check = staticmethod(load_segmentor), staticmethod(check_segmentor)

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        pretrained: str | Path | None = None,
        device: str | torch.device | None = None,
        tokenizer: Mapping | str | Path | None = None,
        classes: Sequence[str] | None = None,
        compare_grids: bool = True,
        palette: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(model, pretrained, device, tokenizer, compare_grids)
        self.classes = self._class_names(classes)
        known = getattr(self.model, "_dataset_meta", {}).get("palette") if palette is None else palette
        self.palette = distinct_colours(self.num_classes) if known is None else _colours(known)
        if len(self.palette) != self.num_classes:
            raise ValueError(
                f"the palette has {len(self.palette)} colours, the model {self.num_classes} classes; expected one each"
            )

    @property
    def num_classes(self) -> int:
        return self.model.decode_head.num_classes

    def __call__(
        self,
        inputs: InputType,
        return_datasamples: bool = False,
        batch_size: int | None = None,
        indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]] | list[SegDataSample]:
        """Segment; arguments and errors are those of `TokenClassificationInferencer`.

        Args:
            **kwargs: `show_dir`: folder for pictures, a PNG file per sample: the image, and its label map over it, with
                outlines and a legend; `opacity`: share of the colours (default 0.5). `show`: whether to open each in
                a window. `pred_dir`: folder for label maps, PNG files of class indices: grey, 8 bits (16 for more than
                256 classes), as tools/tokenize_images.py reads annotations. `out_dir`: both, in its folders `vis` and
                `pred`. Files have the names of their images, in the sub-folders where these lie.

        Returns:
            A dict for each sample: `pred_sem_seg`, class indices (h, w), uint8 (uint16 for more than 256 classes), of
            the size of the image; for stored tokens of their label map, else of the decoded image (without a
            tokenizer, the head's resolution); and
            `classes`: each class that occurs, by its name (its index where there are no names), with its share of the
            pixels, the largest first.
        """
        return super().__call__(inputs, return_datasamples, batch_size, indices, **kwargs)

    def preprocess(self, inputs: ClassifierInputs, batch_size: int = 1) -> Iterator[TokenBatch]:
        """Yield batches for the model's data preprocessor, with the sizes of their label maps."""
        for batch in inputs.batches(batch_size):
            indices = batch["sample_idx"].tolist()
            sizes = [inputs.size(index) or self._decoded_size(batch) for index in indices]
            if None not in sizes:
                batch["data_samples"] = [
                    SegDataSample(metainfo={"sample_idx": index, "img_shape": size, "ori_shape": size})
                    for index, size in zip(indices, sizes, strict=True)
                ]
            yield batch

    def forward(self, inputs: TokenBatch, **kwargs: Any) -> list[SegDataSample]:
        """Predict a batch, and free the device of its label maps."""
        return [sample.cpu() for sample in super().forward(inputs, **kwargs)]

    def _decoded_size(self, batch: TokenBatch) -> tuple[int, int] | None:
        if self.tokenizer is None:
            return None
        return tuple(side * self.tokenizer.stride for side in batch["inputs"].shape[1:3])

    def visualize(
        self,
        inputs: ClassifierInputs,
        preds: list[SegDataSample],
        show_dir: str | Path | None = None,
        show: bool = False,
        opacity: float = OPACITY,
        first: int = 0,
    ) -> list[np.ndarray] | None:
        """Draw each label map over its image, (H, W, 3), RGB, uint8; see `__call__`.

        `first` is the number of the first sample among the inputs.
        """
        check_opacity(opacity)
        if show_dir is None and not show:
            return None
        names = self.classes or [str(number) for number in range(self.num_classes)]
        pictures = []
        for index, sample in enumerate(preds, first):
            image = torch.from_numpy(inputs.picture(index).copy()).permute(2, 0, 1)
            drawn = segmentation_picture(image, sample.pred_sem_seg.data[0], names, self.palette, opacity=opacity)
            if show_dir is not None:
                with written_whole(inputs.output_path(show_dir, index)) as temporary:
                    drawn.save(temporary, format="png")
            if show:
                drawn.show(title=inputs.names[index])
            pictures.append(np.asarray(drawn))
        return pictures

    def _write_prediction(self, sample: SegDataSample, path: Path) -> None:
        labels = sample.pred_sem_seg.data[0].numpy().astype(self._dtype)
        Image.fromarray(labels).save(path, format="png")

    @property
    def _dtype(self) -> type[np.unsignedinteger]:
        return np.uint8 if self.num_classes <= 256 else np.uint16

    def postprocess(
        self,
        preds: list[SegDataSample],
        visualization: list[np.ndarray] | None,
        return_datasamples: bool = False,
    ) -> list[dict[str, Any]] | list[SegDataSample]:
        if return_datasamples:
            return preds
        return [self._label_map(sample.pred_sem_seg.data[0].cpu().numpy()) for sample in preds]

    def _label_map(self, labels: np.ndarray) -> dict[str, Any]:
        found, counts = np.unique(labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        names = {int(index): self.classes[index] if self.classes is not None else int(index) for index in found}
        shares = {names[int(found[rank])]: float(counts[rank] / labels.size) for rank in order}
        return {"pred_sem_seg": labels.astype(self._dtype), "classes": shares}


def _colours(palette: Sequence[Sequence[int]]) -> list[list[int]]:
    with parsing("the palette", "a list of colours, each of three integers from 0 to 255"):
        colours = [[int(value) for value in colour] for colour in palette]
        if any(len(colour) != 3 or min(colour) < 0 or max(colour) > 255 for colour in colours):
            raise ValueError("one of its colours is something else")
    return colours
