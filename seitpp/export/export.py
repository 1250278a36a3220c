"""A classifier or segmentor, with its tokenizer if wanted, as one file without this package: ONNX or torch.export.

Every file is compared with the model before it gets its name: on batches of other sizes than the traced one, its tokens
must be those of the tokenizer and its logits those of the model.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from seitpp.apis.loading import as_config, check_grid, load_classifier, load_segmentor
from seitpp.datasets import TokenDataset, TokenSegDataset
from seitpp.engine.model_kind import ModelKind, check_kind
from seitpp.export.formats import OUTPUTS, SUFFIXES, WRITERS, Format, Input, Runner
from seitpp.export.graphs import ImagesToLogits, TokensToLogits, TokensToMaps, in_range
from seitpp.io.atomic_write import written_whole
from seitpp.io.config_file import type_name
from seitpp.tokenizers import Tokenizer

_SAMPLES = 4  # real ones to compare on
_EXAMPLES = 2  # traced with; with 1 the batch could be taken for a constant
# Another library may round otherwise, and a vector between two codes then get the other one.
_LEAST_AGREEMENT = 0.999


@dataclass(frozen=True)
class Parity:
    """How an exported file compares with the model.

    Attributes:
        path: The file.
        num_samples: Samples compared.
        batch_sizes: In batches of these sizes.
        logits_difference: Largest absolute difference of a logit, among samples with the same tokens.
        token_agreement: Share of positions with the same token; None where tokens go in.
    """

    path: Path
    num_samples: int
    batch_sizes: tuple[int, ...]
    logits_difference: float
    token_agreement: float | None

    def check(self, tolerance: float) -> None:
        """Refuse a file that computes something else.

        Raises:
            ValueError: A difference is above the tolerance, or more than one position in a thousand has another token.
        """
        if self.token_agreement is not None and self.token_agreement < _LEAST_AGREEMENT:
            raise ValueError(
                f"{self.path.name} gives the tokenizer's tokens at {self.token_agreement:.4%} of positions, expected "
                f"at least {_LEAST_AGREEMENT:.1%}; the file was not kept"
            )
        if not self.logits_difference <= tolerance:  # nor not a number
            raise ValueError(
                f"{self.path.name} gives logits that differ by up to {self.logits_difference:.3g} from the model's, "
                f"tolerance {tolerance:g}; the file was not kept"
            )


def export_model(
    config: str | Path | Config,
    checkpoint: str | Path,
    out: str | Path,
    *,
    tokenizer: Mapping | str | Path | None = None,
    input: Input | None = None,
    formats: Iterable[Format] = ("onnx",),
    batch_size: int | None = None,
    tolerance: float = 1e-4,
    compare_grids: bool = True,
    logits_size: Sequence[int] | None = None,
) -> list[Parity]:
    """Export a trained model, compared on random input and, if the config's test store is there, on real input.

    Args:
        config: Of a classifier or a segmentor; as `checkpoint`, `tokenizer` and `compare_grids`: see `load_classifier`.
        checkpoint: Its weights.
        out: Path without a suffix; each format adds its own, and the metadata `.json`.
        tokenizer: Makes tokens of images.
        input: What files take; by default images if a tokenizer is known, else tokens.
        formats: Formats to write.
        batch_size: Samples that a file takes at once; None for any number.
        tolerance: Largest difference of a logit.
        compare_grids: Whether to refuse other grids than that of the training.
        logits_size: Height and width of a segmentor's logits, (0, 0) for the resolution of its head; by default that
            of the images that a file takes, and the head's for tokens.

    Raises:
        FileNotFoundError: A file is missing.
        ModuleNotFoundError: A package for ONNX is not installed.
        ValueError: The checkpoint or the tokenizer does not fit the model, the model cannot be exported, or a file
            computes something else; that file is not kept.
    """
    config = as_config(config)
    segments = check_kind(config, ModelKind.CLASSIFIER, ModelKind.SEGMENTOR) is ModelKind.SEGMENTOR
    if logits_size is not None and not segments:
        raise ValueError(f"logits_size is {tuple(logits_size)}, but a classifier's logits have no size; leave it out")
    model = (load_segmentor if segments else load_classifier)(config, checkpoint, tokenizer, compare_grids)
    known, dataset = model.data_preprocessor.tokenizer, _test_data(config)
    if known is None and input == "images":
        raise ValueError(
            "files that take images hold the tokenizer, and none is known; pass tokenizer: a file of "
            "configs/tokenizers/, or the folder of a token store of the model's training"
        )
    if dataset is not None and known is not None and not _is_of(dataset, known):
        print_log(
            f"{dataset.store_path}, which the config tests on, holds tokens of another tokenizer: what is exported is "
            "compared on random input alone.",
            "current",
        )
        dataset = None
    if dataset is None:
        tokens, shape = None, _token_shape(model, known)
    else:
        indices = range(min(_SAMPLES, len(dataset)))
        found = torch.from_numpy(dataset.reader.read(indices)) if segments else dataset.__getitems__(indices)["inputs"]
        tokens, shape = found.long(), tuple(found.shape[1:])
    if compare_grids and known is not None:
        check_grid(model, known.grid, "the tokenizer")
    if compare_grids and dataset is not None:
        check_grid(model, shape[:2], dataset.store_path)
    metadata = {} if dataset is None else dataset.metainfo
    names = {key: model._dataset_meta.get(key) or metadata.get(key) for key in ("classes", "palette")}
    takes_tokens = known is None or input == "tokens"
    exporter = Exporter(
        model,
        None if takes_tokens else known,  # refuses another codebook's tokenizer
        shape,
        batch_size,
        tokens if takes_tokens else None,
        names["classes"],
        names["palette"] if segments else None,
        _logits_size(logits_size, None if takes_tokens else known) if segments else None,
    )
    if not takes_tokens:
        exporter = replace(exporter, samples=_decoded(known, tokens))
    return exporter.export(out, formats, tolerance)


def _logits_size(given: Sequence[int] | None, tokenizer: Tokenizer | None) -> tuple[int, int] | None:
    """Return the size of a segmentor's logits, None for that of its head."""
    if given is None:
        return None if tokenizer is None else tuple(tokenizer.image_size)
    size = tuple(given)
    if size == (0, 0):
        return None
    if len(size) != 2 or any(type(side) is not int or side < 1 for side in size):
        raise ValueError(f"logits_size is {size}, expected a height and a width in pixels, or 0 0 for the head's own")
    return size


def _test_data(config: Config) -> TokenDataset | None:
    options = (config.get("test_dataloader") or {}).get("dataset") or {}
    kind = {kind.__name__: kind for kind in (TokenDataset, TokenSegDataset)}.get(type_name(options))
    if kind is None:
        return None
    kept = {key: value for key, value in options.items() if key not in ("type", "device")}  # a few are read, from disk
    dataset = kind(**kept, lazy_init=True)
    if not Path(dataset.store_path).exists():
        return None
    dataset.full_init()
    return dataset


def _is_of(dataset: TokenDataset, tokenizer: Tokenizer) -> bool:
    """Return whether a data set's tokens have the sizes of a tokenizer's."""
    reader = dataset.reader
    return (tuple(reader.grid), reader.codebook_size) == (tuple(tokenizer.grid), tokenizer.codebook_size)


def _token_shape(model: nn.Module, tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """Return the shape of a sample's tokens: the tokenizer's, or without one that after the centre crop."""
    if tokenizer is not None:
        return tuple(tokenizer.sample_shape)
    channels = model.data_preprocessor.channels
    grid = model.data_preprocessor.crop_size or model.backbone.img_size
    return (*grid,) if channels is None else (*grid, channels)


def _decoded(tokenizer: Tokenizer, tokens: Tensor | None) -> Tensor | None:
    """Return images of tokens, in [0, 1]; None without tokens or without a decoder."""
    if tokens is None or not tokenizer.can_decode:
        return None
    low, high = tokenizer.pixel_range
    return ((tokenizer.decode(tokens) - low) / (high - low)).clamp(0, 1)


@dataclass(frozen=True)
class Exporter:
    """Exports one model.

    Args:
        model: In evaluation mode, on the CPU.
        tokenizer: Makes tokens of images, on the CPU; None for a file that takes tokens.
        token_shape: Shape of a sample's tokens, where a file takes them.
        batch_size: Samples that a file takes at once; None for any number.
        samples: Real inputs to compare on beside random ones: tokens, or images in [0, 1]; may be None.
        classes: Class names, or None.
        palette: Colours of a segmentor's classes, RGB, or None.
        logits_size: Height and width of a segmentor's logits; None for the resolution of its head.
    """

    model: nn.Module
    tokenizer: Tokenizer | None = None
    token_shape: Sequence[int] | None = None
    batch_size: int | None = None
    samples: Tensor | None = None
    classes: Sequence[str] | None = None
    palette: Sequence[Sequence[int]] | None = None
    logits_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.tokenizer is not None:
            self.model.data_preprocessor.check_tokenizer(self.tokenizer)

    @property
    def segments(self) -> bool:
        """Whether the model is a segmentor."""
        return hasattr(self.model, "decode_head")

    @property
    def head(self) -> nn.Module:
        """The part that scores classes."""
        return self.model.decode_head if self.segments else self.model.head

    def _of_tokens(self) -> nn.Module:
        return TokensToMaps(self.model, self.logits_size) if self.segments else TokensToLogits(self.model)

    @property
    def input(self) -> Input:
        """What files take."""
        return "tokens" if self.tokenizer is None else "images"

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample of the input."""
        if self.tokenizer is not None:
            return self.tokenizer.in_channels, *self.tokenizer.image_size
        return tuple(self.token_shape)

    @torch.no_grad()
    def export(self, out: str | Path, formats: Iterable[Format] = ("onnx",), tolerance: float = 1e-4) -> list[Parity]:
        """Write `out` with the suffix of each format, compared with the model, and last its metadata as JSON.

        Arguments, result and errors are those of `export_model`.
        """
        classify = self._of_tokens()
        module = classify if self.tokenizer is None else ImagesToLogits(self.tokenizer, classify)
        program = self._traced(module.eval())
        metadata = self.metadata()
        parities = []
        for name in formats:
            write, load = WRITERS[name]
            path = Path(f"{out}{SUFFIXES[name]}")
            with written_whole(path) as temporary:
                write(program, temporary, metadata, self.input)
                parity = self._compare(path, load(temporary, self.input))
                parity.check(tolerance)
            parities.append(parity)
        with written_whole(f"{out}.json") as temporary:
            temporary.write_text(json.dumps(metadata, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return parities

    def metadata(self) -> dict[str, Any]:
        """Return what users of a file need to know; it stands in the file and beside it."""
        preprocessor = self.model.data_preprocessor
        metadata = {
            "input": self.input,
            "input_shape": ["batch" if self.batch_size is None else self.batch_size, *self.sample_shape],
            "input_dtype": "int64" if self.tokenizer is None else "float32",
            "outputs": list(OUTPUTS[self.input]),
            "task": "segmentation" if self.segments else "classification",
            "num_classes": self.head.num_classes,
            "classes": None if self.classes is None else list(self.classes),
            "codebook_size": None if preprocessor.codebook is None else len(preprocessor.codebook),
            "codebook_sha256": preprocessor.codebook_sha256,
        }
        if self.segments:
            metadata |= {
                "palette": None if self.palette is None else [list(colour) for colour in self.palette],
                "logits_size": list(self._map_size()),
            }
        if self.tokenizer is not None:
            metadata |= {
                "image_size": list(self.tokenizer.image_size),
                "pixel_range": [0.0, 1.0],
                "channels": "RGB" if self.tokenizer.in_channels == 3 else "grey",
                "resize": self.tokenizer.describe_preprocessing()["resize"],
                "tokenizer": self.tokenizer.describe(),
            }
        return metadata

    def _traced(self, module: nn.Module) -> ExportedProgram:
        example = self._random(self.batch_size or _EXAMPLES)
        outputs = module(example)  # the tokenizer makes its table of positions now, and not while it is traced
        logits = outputs if self.tokenizer is None else outputs[0]
        wanted = (len(example), self.head.num_classes)
        fits = isinstance(logits, Tensor) and logits.shape[:2] == wanted and logits.ndim == (4 if self.segments else 2)
        if not fits:
            raise ValueError(
                f"the head, a {type(self.head).__name__}, gives no logits (B, {wanted[1]}{', H, W' * self.segments}); "
                "export a model with a head such as LinearClsHead or UPerHead"
            )
        dynamic = None if self.batch_size else ({0: Dim("batch", min=1)},)
        return torch.export.export(module, (example,), dynamic_shapes=dynamic, strict=False)

    def _map_size(self) -> tuple[int, int]:
        """Return height and width of a segmentor's logits."""
        if self.logits_size is not None:
            return self.logits_size
        shape = self.tokenizer.sample_shape if self.tokenizer is not None else self.token_shape
        return tuple(self._of_tokens()(torch.zeros(1, *shape, dtype=torch.int64)).shape[-2:])

    def _random(self, count: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (count, *self.sample_shape)
        if self.tokenizer is not None:
            return torch.rand(shape, generator=generator)
        codebook = self.model.data_preprocessor.codebook
        low, high = (-8, 9) if codebook is None else (0, len(codebook))  # coefficients are small as a rule
        return torch.randint(low, high, shape, generator=generator)

    def _batches(self) -> list[Tensor]:
        """Return inputs to compare on, random and real, in batches of other sizes than the example's where possible."""
        if self.batch_size is None:
            batches = [self._random(1, seed=1), self._random(_EXAMPLES + 1, seed=2)]
            return batches if self.samples is None else [*batches, self.samples]
        batches = [self._random(self.batch_size, seed=1)]
        if self.samples is not None:
            repeated = -(-self.batch_size // len(self.samples))
            batches.append(self.samples.repeat(repeated, *[1] * (self.samples.ndim - 1))[: self.batch_size])
        return batches

    def _compare(self, path: Path, run: Runner) -> Parity:
        classify, differences, agreements = self._of_tokens(), [0.0], []
        batches = self._batches()
        for batch in batches:
            found = run(batch)
            tokens = batch if self.tokenizer is None else self.tokenizer.encode(in_range(self.tokenizer, batch))
            difference = (found[0] - classify(tokens)).abs().flatten(1).amax(dim=1)
            if self.tokenizer is not None:
                same = (found[1] == tokens).flatten(1)
                agreements.append(same.float().mean(dim=1))
                difference = difference[same.all(dim=1)]
            differences += difference.tolist()
        return Parity(
            path,
            sum(map(len, batches)),
            tuple(map(len, batches)),
            max(differences, key=lambda value: (value != value, value)),  # a NaN is the largest
            torch.cat(agreements).mean().item() if agreements else None,
        )
