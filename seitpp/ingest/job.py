"""One run of tokenising: what goes in, what comes out, how it is cut into shards. Plain data for any process."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from seitpp.ingest.classes import follow_classes
from seitpp.ingest.loading import Fitting
from seitpp.ingest.output import OutputFolder
from seitpp.ingest.sources import ImageSource, open_image_source
from seitpp.io.progress import progress_bar
from seitpp.storage import StoreSettings
from seitpp.storage.header import smallest_label_dtype
from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.from_config import build_tokenizer

_MOST_SAMPLES = 4096
_MOST_AT_ONCE = 2**31


@dataclass(frozen=True)
class TokenizeJob:
    """What to tokenise, by which tokenizer, and where to."""

    tokenizer: dict[str, Any] | str  # its config, or a store that it made
    source: dict[str, Any]  # arguments of `open_image_source`
    out: str  # folder of the store, or a URL
    codec: str = "bitpacked"
    batch_size: int = 64  # images encoded at once
    samples_per_shard: int | None = None  # images of the source per shard; None for 4,096, or fewer of large samples
    num_workers: int = 0  # processes that decode images, for each process that encodes
    device: str = "cpu"  # where to encode
    skip_unreadable: bool = True  # whether an image that cannot be read is left out and reported, or ends the run
    retry_left_out: bool = False  # whether shards of a finished store that lack an image are made again
    label_size: tuple[int, int] | None = None  # of label maps; None: as the tokenizer's images, (0, 0): their own
    classes: tuple[str, ...] | None = None  # names of another split's classes, in the order that labels are to follow
    save_seconds: float = 30.0  # after which the codes of an unfinished shard are put aside

    def __post_init__(self) -> None:
        for name in ("batch_size", "samples_per_shard"):
            if getattr(self, name) is not None and not 1 <= getattr(self, name) <= _MOST_AT_ONCE:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a positive number up to {_MOST_AT_ONCE}")
        if self.num_workers < 0:
            raise ValueError(f"num_workers is {self.num_workers}, expected 0 or more")
        if self.label_size is not None and tuple(self.label_size) != (0, 0) and min(self.label_size) < 1:
            raise ValueError(f"label_size is {tuple(self.label_size)}, expected two positive numbers, or (0, 0)")

    def open_source(self) -> ImageSource:
        """Open the images; `ValueError` if there are classes that `classes` lacks."""
        with progress_bar(f"opening {self.source_name}"):
            source = open_image_source(**self.source)
        if self.classes is not None:
            follow_classes(source, self.classes, self.source_name)
        return source

    @property
    def source_name(self) -> str:
        """What messages call the source: its path, with the split."""
        path, split = self.source["path"], self.source.get("split")
        return path if split is None else f"{path} ({split})"

    @property
    def fit(self) -> dict[str, Any] | None:
        """How the tokenizer is to be fitted to the images; None where it is not."""
        return None if isinstance(self.tokenizer, str) else self.tokenizer.get("fit")

    def fitted_as(self, tokenizer: Tokenizer) -> "TokenizeJob":
        """Return the job with the codebook of a tokenizer of its config that was fitted to other images."""
        if self.fit is None:
            return self
        config = {key: value for key, value in self.tokenizer.items() if key != "fit"}
        return replace(self, tokenizer={**config, "codebook": tokenizer.codebook.cpu().numpy()})

    def build_tokenizer(self, codebook: np.ndarray | None = None) -> Tokenizer:
        """Build the tokenizer on the job's device, frozen, with the `codebook` of one fitted before if it is given."""
        source = self.tokenizer
        if not isinstance(source, str):
            fitted = {} if codebook is None else {"codebook": codebook}
            source = {**{key: value for key, value in source.items() if key != "fit"}, **fitted}
        with progress_bar("loading the tokenizer"):
            return build_tokenizer(source).to(torch.device(self.device)).eval().requires_grad_(False)


@dataclass(frozen=True)
class ShardPlan:
    """The images of one shard, by their numbers in the source."""

    number: int
    images: range


@dataclass(frozen=True)
class Plan:
    """A job with its source and tokenizer opened: everything that must agree between the processes of a run."""

    job: TokenizeJob
    source: ImageSource
    tokenizer: Tokenizer

    @cached_property
    def output(self) -> OutputFolder:
        """The folder of the store."""
        return OutputFolder(self.job.out)

    @cached_property
    def fitting(self) -> Fitting:
        """What loader workers need to know."""
        size = self.job.label_size
        size = self.tokenizer.image_size if size is None else None if size == (0, 0) else size
        num_classes = len(self.source.classes) if self.source.annotated and self.source.classes else None
        labels = {"reduce_zero_label": self.source.reduce_zero_label, "num_classes": num_classes}
        return replace(Fitting.of(self.tokenizer), label_size=size, **labels)

    @cached_property
    def settings(self) -> StoreSettings:
        """The store that comes out."""
        tokenizer, source = self.tokenizer, self.source
        label_dtype = None
        if source.labels is not None:
            num_classes = len(source.classes) if source.classes else int(source.labels.max()) + 1
            label_dtype = smallest_label_dtype(num_classes)
        metadata = source_metadata(self.job, source)
        if source.annotated:
            metadata["label_maps"] = {
                "size": "kept" if self.fitting.label_size is None else list(self.fitting.label_size),
                "reduce_zero_label": source.reduce_zero_label,
            }
        codebook = tokenizer.codebook
        # Said only where it is so: headers of all other stores stay as they were.
        spatial = {} if tokenizer.spatial else {"spatial": False}
        settings = StoreSettings(
            codebook_size=tokenizer.codebook_size,
            grid=tokenizer.grid,
            tokenizer={**tokenizer.describe(), **spatial},
            codebook=None if codebook is None else codebook.detach().float().cpu().numpy(),
            codec=self.job.codec,
            label_kind=source.label_kind,
            classes=source.classes,
            label_dtype=label_dtype,
            source=metadata,
            channels=tokenizer.channels,
            minimum=tokenizer.minimum,
            code_table=getattr(tokenizer, "code_table", None),
            samples_per_shard=self.job.samples_per_shard,
        )
        if self.job.samples_per_shard is None:
            return replace(settings, samples_per_shard=min(_MOST_SAMPLES, settings.samples_per_shard))
        return settings

    @cached_property
    def shards(self) -> list[ShardPlan]:
        """The shards that cover the source."""
        size, images = self.settings.samples_per_shard, range(len(self.source))
        return [ShardPlan(number, images[start : start + size]) for number, start in enumerate(images[::size])]


def source_metadata(job: TokenizeJob, source: ImageSource) -> dict[str, Any]:
    """Return what a store records of the images and of how a tokenizer was fitted to them."""
    fit = {} if job.fit is None else {"tokenizer_fit": dict(job.fit)}
    return {**source.describe(), **fit}
