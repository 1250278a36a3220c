"""Loaders of image files for classifiers of tokens, which are made on the way, and for those of pixels."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from seitpp.engine.image_testing import use_images
from seitpp.engine.robustness.plan import Pass
from seitpp.images.decoding import MAX_PIXELS
from seitpp.io.config_file import type_name
from seitpp.registry import DATASETS, FUNCTIONS


def takes_tokens(config: Config) -> bool:
    """Return whether a config's model takes tokens, or else pixels."""
    preprocessor = config.model.get("data_preprocessor") or config.get("data_preprocessor") or {}
    return type_name(preprocessor) == "TokenDataPreprocessor"


def use_test_images(config: Config, source: str, options: Mapping[str, Any]) -> None:
    """Let a classifier's config be tested on images.

    Changes `test_dataloader`, and for tokens the data preprocessor's `tokenizer`. Classes are compared by the
    benchmarks, so the guard of classes is left out; that of data is added where there is none.

    Args:
        config: Of a classifier of tokens, or of one of pixels with the pipeline of its test data.
        source: Any of the benchmarks' images.
        options: Those of `use_images` that were given: `tokenizer`, `max_pixels`, `num_workers`, `batch_size`.
    """
    if takes_tokens(config):
        use_images(config, source, **options)
    else:
        _use_pixels(config, source, **options)
    hooks = {**(config.get("default_hooks") or {})}
    hooks.pop("class_guard", None)
    hooks["logger"] = None  # progress and scores of each pass are told
    config.default_hooks = {"data_guard": {"type": "seitpp.DataGuardHook"}, **hooks}
    config.custom_hooks = [hook for hook in config.get("custom_hooks") or [] if type_name(hook) != "ClassGuardHook"]


def _use_pixels(
    config: Config,
    source: str,
    *,
    tokenizer: str | None = None,
    max_pixels: int = MAX_PIXELS,
    num_workers: int | None = None,
    batch_size: int | None = None,
) -> None:
    """Let a classifier of pixels be tested on images, through the pipeline of its config's test data."""
    if tokenizer is not None:
        raise ValueError(f"--tokenizer {tokenizer}: {config.filename} is of a classifier of pixels; leave it out")
    loader = config.get("test_dataloader")
    pipeline = ((loader or {}).get("dataset") or {}).get("pipeline")
    if not pipeline:
        raise ValueError(
            f"{config.filename} has no test_dataloader.dataset.pipeline, which says how its classifier takes images; "
            "expected one such as [dict(type='ResizeEdge', scale=256, edge='short'), dict(type='CenterCrop', "
            "crop_size=224), dict(type='PackInputs')]"
        )
    config.test_dataloader = ConfigDict(
        batch_size=loader.get("batch_size", 1) if batch_size is None else batch_size,
        num_workers=loader.get("num_workers", 0) if num_workers is None else num_workers,
        dataset=dict(
            type="seitpp.PixelDataset", source=source, pipeline=pipeline, test_mode=True, max_pixels=max_pixels
        ),
        sampler=dict(type="mmengine.DefaultSampler", shuffle=False),
        collate_fn=dict(type="mmengine.default_collate"),
        pin_memory=loader.get("pin_memory", False),
    )


def open_pass(one: Pass, options: Mapping[str, Any], classes: Sequence[str] | None) -> Any:
    """Open the images of a pass.

    Args:
        one: The pass.
        options: Of the data set of any pass, with its type.
        classes: The model's class names, in the order of its indices; None for ImageNet's in the usual order.

    Raises:
        ValueError: They are of other classes than the model's, or a benchmark is not whole.
    """
    benchmark = {"name": one.layout, "classes": classes, "subset": one.subset}
    if one.num_expected is not None:
        benchmark["num_expected"] = one.num_expected
    return DATASETS.build({**options, **one.options, "source": one.source, "benchmark": benchmark})


def loader_of(dataset: Any, options: Mapping[str, Any]) -> DataLoader:
    """Return a loader of a data set that is open, each process with its share; mmengine's would copy the data set.

    Args:
        dataset: The data set.
        options: As `use_test_images` left them in the config.
    """
    collate = FUNCTIONS.get(options["collate_fn"]["type"])
    numbers = {key: options[key] for key in ("batch_size", "num_workers", "pin_memory")}
    return DataLoader(dataset, sampler=DefaultSampler(dataset, shuffle=False), collate_fn=collate, **numbers)
