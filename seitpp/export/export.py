"""A classifier, with its tokenizer if wanted, as one file that runs without this package: ONNX or torch.export.

Every file is compared with the model before it gets its name: on batches of other sizes than the traced one, its tokens
must be those of the tokenizer and its logits those of the classifier.
"""

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from seitpp.apis.loading import check_grid, load_classifier
from seitpp.datasets import TokenDataset
from seitpp.export.formats import OUTPUTS, SUFFIXES, WRITERS, Format, Input, Runner
from seitpp.io.atomic_write import written_whole
from seitpp.io.config_file import read_config
from seitpp.tokenizers import PatchKMeans, Tokenizer, VQTokenizer

_SAMPLES = 4  # real ones to compare on
_EXAMPLES = 2  # traced with; with 1 the batch could be taken for a constant
# Another library may round otherwise, and a vector between two codes then get the other one.
_LEAST_AGREEMENT = 0.999


class TokensToLogits(nn.Module):
    """Tokens (B, h, w), or (B, h, w, C) without a codebook, int64, to logits (B, classes): crop, embed, classify.

    Args:
        model: A classifier with a `TokenDataPreprocessor`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        batch = self.model.data_preprocessor.process({"inputs": tokens}, training=False)
        return self.model(batch["inputs"], mode="tensor")


class ImagesToLogits(nn.Module):
    """Images (B, C, H, W) in [0, 1], of the tokenizer's size, to logits (B, classes) and the tokens in between.

    Args:
        tokenizer: With float32 networks; its decoder is left out.
        classify: The classifier of its tokens.
    """

    def __init__(self, tokenizer: Tokenizer, classify: TokensToLogits) -> None:
        super().__init__()
        self.tokenizer = _encoder_of(tokenizer)
        self.classify = classify

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and tokens int64."""
        tokens = encode_whole(self.tokenizer, in_range(self.tokenizer, images))
        return self.classify(tokens), tokens


def in_range(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    """Bring images in [0, 1] to the tokenizer's `pixel_range`."""
    low, high = tokenizer.pixel_range
    return images * (high - low) + low


def encode_whole(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    """Encode any number of images (B, C, H, W) in `pixel_range`, in float32, as a graph that can be exported.

    `tokenizer.encode` scores codes in chunks, whose number, and with it the batch, would be a constant of the graph.
    """
    if tokenizer.codebook is None:
        return tokenizer.encode(images)
    if isinstance(tokenizer, VQTokenizer):
        vectors = tokenizer.embed(images)
    elif isinstance(tokenizer, PatchKMeans):
        vectors = F.pixel_unshuffle(images, tokenizer.stride)
    else:
        raise ValueError(
            f"{type(tokenizer).__name__} cannot be exported: expected ViTVQGAN, VQGAN, PatchKMeans or a tokenizer "
            "without a codebook. Export the classifier alone (--input tokens)"
        )
    weight, bias = _scoring(tokenizer)
    return F.linear(vectors.movedim(1, -1), weight, bias).argmax(dim=-1)


def _scoring(tokenizer: Tokenizer) -> tuple[Tensor, Tensor | None]:
    """Return the linear map whose largest output is a vector's code: weight (K, D) and bias (K,)."""
    scores = getattr(tokenizer, "code_scores", None)
    if scores is not None:  # a network's, not the codebook's
        return scores.weight.flatten(1), scores.bias
    if tokenizer.distance == "cosine":
        return F.normalize(tokenizer.codebook, dim=-1), None
    return tokenizer.codebook, tokenizer.codebook.square().sum(dim=-1) / -2


def _encoder_of(tokenizer: Tokenizer) -> Tokenizer:
    if getattr(tokenizer, "precision", "float32") != "float32":
        raise ValueError(
            f"the tokenizer computes in {tokenizer.precision} and files in float32, where some codes differ; give the "
            "config of a tokenizer with precision='float32', or export the classifier alone (--input tokens)"
        )
    encoder = copy.copy(tokenizer)
    encoder._modules = {name: None if name == "decoder" else part for name, part in tokenizer._modules.items()}
    # A `.pt2` holds buffers in the order of their memory.
    buffers = tokenizer._buffers.items()
    encoder._buffers = {name: None if value is None else value.contiguous() for name, value in buffers}
    return encoder


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


def export_classifier(
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
) -> list[Parity]:
    """Export a trained classifier, compared on random input and, if the config's test store is there, on real input.

    Args:
        config: As `checkpoint`, `tokenizer` and `compare_grids`: see `load_classifier`.
        checkpoint: Its weights.
        out: Path without a suffix; each format adds its own, and the metadata `.json`.
        tokenizer: Makes tokens of images.
        input: What files take; by default images if a tokenizer is known, else tokens.
        formats: Formats to write.
        batch_size: Samples that a file takes at once; None for any number.
        tolerance: Largest difference of a logit.
        compare_grids: Whether to refuse other grids than that of the training.

    Raises:
        FileNotFoundError: A file is missing.
        ModuleNotFoundError: A package for ONNX is not installed.
        ValueError: The checkpoint or the tokenizer does not fit the model, the model cannot be exported, or a file
            computes something else; that file is not kept.
    """
    config = config if isinstance(config, Config) else read_config(config)
    model = load_classifier(config, checkpoint, tokenizer, compare_grids)
    known, dataset = model.data_preprocessor.tokenizer, _test_data(config)
    if known is None and input == "images":
        raise ValueError(
            "files that take images hold the tokenizer, and none is known; pass tokenizer: a file of "
            "configs/tokenizers/, or the folder of a token store of the model's training"
        )
    if dataset is None:
        tokens, shape = None, _token_shape(model, known)
    else:
        tokens = dataset.__getitems__(range(min(_SAMPLES, len(dataset))))["inputs"].long()
        shape = tuple(tokens.shape[1:])
    if compare_grids and known is not None:
        check_grid(model, known.grid, "the tokenizer")
    if compare_grids and dataset is not None:
        check_grid(model, shape[:2], dataset.store_path)
    classes = model._dataset_meta.get("classes") or (dataset and dataset.metainfo["classes"])
    if known is None or input == "tokens":
        exporter = Exporter(model, None, shape, batch_size, tokens, classes)
    else:
        exporter = Exporter(model, known, shape, batch_size, None, classes)  # refuses another codebook's tokenizer
        exporter = replace(exporter, samples=_decoded(known, tokens))
    return exporter.export(out, formats, tolerance)


def _test_data(config: Config) -> TokenDataset | None:
    options = (config.get("test_dataloader") or {}).get("dataset") or {}
    if str(options.get("type")).split(".")[-1] != TokenDataset.__name__:
        return None
    kept = {key: value for key, value in options.items() if key not in ("type", "device")}  # a few are read, from disk
    dataset = TokenDataset(**kept, lazy_init=True)
    if not Path(dataset.store_path).exists():
        return None
    dataset.full_init()
    return dataset


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
    """Exports one classifier.

    Args:
        model: In evaluation mode, on the CPU.
        tokenizer: Makes tokens of images, on the CPU; None for a file that takes tokens.
        token_shape: Shape of a sample's tokens, where a file takes them.
        batch_size: Samples that a file takes at once; None for any number.
        samples: Real inputs to compare on beside random ones: tokens, or images in [0, 1]; may be None.
        classes: Class names, or None.
    """

    model: nn.Module
    tokenizer: Tokenizer | None = None
    token_shape: Sequence[int] | None = None
    batch_size: int | None = None
    samples: Tensor | None = None
    classes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.tokenizer is not None:
            self.model.data_preprocessor.check_tokenizer(self.tokenizer)

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

        Arguments, result and errors are those of `export_classifier`.
        """
        classify = TokensToLogits(self.model)
        module = classify if self.tokenizer is None else ImagesToLogits(self.tokenizer, classify)
        program, metadata = self._traced(module.eval()), self.metadata()
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
            "num_classes": self.model.head.num_classes,
            "classes": None if self.classes is None else list(self.classes),
            "codebook_size": None if preprocessor.codebook is None else len(preprocessor.codebook),
            "codebook_sha256": preprocessor.codebook_sha256,
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
        if not isinstance(logits, Tensor) or logits.shape != (len(example), self.model.head.num_classes):
            raise ValueError(
                f"the head, a {type(self.model.head).__name__}, gives no logits (B, {self.model.head.num_classes}); "
                "export a classifier with a head such as LinearClsHead"
            )
        dynamic = None if self.batch_size else ({0: Dim("batch", min=1)},)
        return torch.export.export(module, (example,), dynamic_shapes=dynamic, strict=False)

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
        classify, differences, agreements = TokensToLogits(self.model), [0.0], []
        batches = self._batches()
        for batch in batches:
            found = run(batch)
            tokens = batch if self.tokenizer is None else self.tokenizer.encode(in_range(self.tokenizer, batch))
            difference = (found[0] - classify(tokens)).abs().amax(dim=1)
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
