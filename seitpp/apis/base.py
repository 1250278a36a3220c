"""What all inferencers share: opening images and tokens, checking that they fit the model, and going through them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmpretrain.apis.base import BaseInferencer
from PIL import Image
from torch import Tensor, nn

from seitpp.apis.inputs import ClassifierInputs, ImageInputs, TokenInputs, images_in, is_store
from seitpp.apis.loading import check_grid, give_tokenizer
from seitpp.apis.tokenizer_lookup import find_tokenizer
from seitpp.engine.guards.finite import predicted_scores
from seitpp.io.atomic_write import written_whole
from seitpp.io.devices import check_device
from seitpp.io.progress import progress_bar
from seitpp.storage import StoreReader
from seitpp.structures.batch import TokenBatch
from seitpp.tokenizers import Tokenizer, tokenizer_from_store
from seitpp.tokenizers.identity import check_same_tokenizer

OneImage: TypeAlias = str | Path | np.ndarray | Image.Image
InputType: TypeAlias = OneImage | Tensor | Sequence[OneImage] | ClassifierInputs


class TokenInferencer(BaseInferencer):
    """Results of a model of tokens for images and for stored tokens; arguments as the subclasses describe them."""

    _task: ClassVar[str]  # what it does, for messages, and what it is doing
    _doing: ClassVar[str]
    _load: ClassVar[Any]  # functions that load a model of the right kind, and that refuse a built one of another
    _check: ClassVar[Any]
    _batch_size = 32
    _pred_suffix = ".json"

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        pretrained: str | Path | None = None,
        device: str | torch.device | None = None,
        tokenizer: Mapping | str | Path | None = None,
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
        self.compare_grids = compare_grids
        self.classes: list[str] | None = None

    def _class_names(self, given: Sequence[str] | None) -> list[str] | None:
        names = getattr(self.model, "_dataset_meta", {}).get("classes") if given is None else given
        if names is not None and len(names) != self.num_classes:
            who = "the checkpoint names" if given is None else "classes names"
            raise ValueError(
                f"{who} {len(names)} classes, the model has {self.num_classes}; expected one name for each"
            )
        return None if names is None else list(names)

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer of images, on the model's device; None if there is none."""
        return self.model.data_preprocessor.tokenizer

    @property
    def num_classes(self) -> int | None:
        """Classes that the model tells apart; None if it knows none."""
        return None

    def __call__(
        self,
        inputs: InputType,
        return_datasamples: bool = False,
        batch_size: int | None = None,
        indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> list[Any]:
        """Return what `stream` yields."""
        return list(self.stream(inputs, return_datasamples, batch_size, indices, **kwargs))

    def stream(
        self,
        inputs: InputType,
        return_datasamples: bool = False,
        batch_size: int | None = None,
        indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        """Yield the result of each sample as its batch is done, so that any number of them fits into memory.

        Arguments and errors are those of a call; inputs are opened and checked with the first result.
        """
        if (out_dir := kwargs.pop("out_dir", None)) is not None:
            if doubled := [name for name in ("show_dir", "pred_dir") if kwargs.get(name) is not None]:
                raise ValueError(f"out_dir has its own folders for pictures and predictions; leave out {doubled[0]}")
            kwargs |= {"show_dir": Path(out_dir, "vis"), "pred_dir": Path(out_dir, "pred")}
        pred_dir = kwargs.pop("pred_dir", None)
        batch_size = self._batch_size if batch_size is None else batch_size
        for name, value in (("batch_size", batch_size), ("topk", kwargs.get("topk", 1))):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a positive integer")
        preprocessing, forwarding, drawing, finishing = self._dispatch_kwargs(**kwargs)
        pictured = bool(drawing.get("show")) or drawing.get("show_dir") is not None
        opened = inputs if isinstance(inputs, ClassifierInputs) else self.open(inputs, indices, pictured)
        if not len(opened):
            raise ValueError(f"there is nothing to {self._task}: the list of inputs, or of indices, is empty")
        for folder in (pred_dir, drawing.get("show_dir")):
            if folder is not None:
                opened.refuse_inside(folder)
        done = 0
        with progress_bar(self._doing, "samples") as progress:  # mmpretrain's own goes to standard output
            for batch in self.preprocess(opened, batch_size, **preprocessing):
                found = self.forward(batch, **forwarding)
                self._check_found(found, done)
                pictures = self.visualize(opened, found, first=done, **drawing)
                if pred_dir is not None:
                    for index, sample in enumerate(found, done):
                        with written_whole(opened.output_path(pred_dir, index, self._pred_suffix)) as temporary:
                            self._write_prediction(sample, temporary)
                yield from self.postprocess(found, pictures, return_datasamples, **finishing)
                done += len(found)
                progress(done, len(opened))

    def open(self, inputs: InputType, indices: Sequence[int] | None = None, pictured: bool = False) -> ClassifierInputs:
        """Open inputs of a call as samples with names, which it takes, too; `pictured` if pictures are wanted."""
        if isinstance(inputs, (str, Path)) and is_store(inputs):
            return self._stored(StoreReader(inputs), indices, pictured)
        if indices is not None:
            raise ValueError(f"indices are samples of a token store; {_brief(inputs)} is none")
        if isinstance(inputs, Tensor):
            return TokenInputs(self._checked_tokens(inputs), self._decoder(pictured))
        if self.tokenizer is None:
            give_tokenizer(self.model, find_tokenizer(self.model, _brief(inputs)))
        folder = inputs if isinstance(inputs, (str, Path)) and Path(inputs).is_dir() else None
        images = [inputs] if not isinstance(inputs, (list, tuple)) else inputs
        self._check_grid(self.tokenizer.grid, "the tokenizer")
        return ImageInputs(images if folder is None else images_in(folder), self.tokenizer, folder)

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

    def _check_found(self, found: Sequence[Any], before: int) -> None:
        """Refuse scores that are NaN or infinite; `before` samples came before these."""
        for number, sample in enumerate(found, before):
            for name, value in predicted_scores(sample):
                if not value.isfinite().all():
                    raise ValueError(
                        f"sample {number} has NaN or infinite values in {name}: the model's weights have diverged or "
                        "do not suit the data's range; take an earlier checkpoint"
                    )

    def _write_prediction(self, sample: Any, path: Path) -> None:
        """Write the prediction of a sample to a file of the ending `_pred_suffix`."""
        raise NotImplementedError

    def _init_pipeline(self, cfg: Config | None) -> None:
        """Do nothing: inputs are prepared batch by batch."""

    def preprocess(self, inputs: ClassifierInputs, batch_size: int = 1) -> Iterator[TokenBatch]:
        """Yield batches for the model's data preprocessor."""
        return inputs.batches(batch_size)


def _brief(inputs: InputType) -> str:
    return str(inputs) if isinstance(inputs, (str, Path)) else f"a {type(inputs).__name__}"
