"""Opening a robustness set by its name."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.logging import MMLogger

from seitpp.images.decoding import MAX_PIXELS
from seitpp.ingest.sources.benchmarks.base import BenchmarkSource
from seitpp.ingest.sources.benchmarks.folders import open_folders, open_imagenet_r, open_imagenet_sketch
from seitpp.ingest.sources.benchmarks.model_classes import ModelClasses
from seitpp.ingest.sources.benchmarks.objectnet import open_objectnet
from seitpp.ingest.sources.labels import read_class_names

BENCHMARKS: dict[str, Callable[..., BenchmarkSource]] = {
    "imagenet_r": open_imagenet_r,
    "imagenet_sketch": open_imagenet_sketch,
    "objectnet": open_objectnet,
    "folders": open_folders,
}
"""What opens each robustness set."""


def open_benchmark(
    path: str | Path,
    *,
    name: str,
    classes: Sequence[str] | None = None,
    subset: bool = False,
    num_expected: int | None = None,
    split: str | None = None,
    root: str | None = None,
    classes_file: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> BenchmarkSource:
    """Open a robustness set, check that it is whole, and log what is not as expected.

    Args:
        path: Its folder, or what else `open_image_source` opens; of ObjectNet the folder.
        name: `imagenet_r`, `imagenet_sketch`, `objectnet`; or `folders` for any set whose classes are named as the
            model's, such as one of ImageNet-C's (`gaussian_noise/3`).
        classes: The model's class names in the order of its indices, for ImageNet the WordNet ids; by default those of
            `classes_file`, and without these ImageNet's 1000 classes in WordNet order.
        subset: Whether classes may have no images; they are logged then.
        num_expected: Images of the whole set, by default as published. Other counts are logged.
        split: As for `open_image_source`.
        root: As for `open_image_source`.
        classes_file: Class names of the set, one per line, in the order of their indices.
        max_pixels: Most pixels that an image may have.

    Raises:
        FileNotFoundError: The folder or a file of its mapping does not exist.
        ValueError: Classes have no images or are not expected; the mapping is damaged; the model has other classes.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"no robustness set is called {name!r}; expected one of {', '.join(BENCHMARKS)}")
    if max_pixels < 1:
        raise ValueError(f"max_pixels is {max_pixels}, expected a positive number of pixels")
    if classes is None and classes_file is not None:
        classes = read_class_names(classes_file)
    options = {"split": split, "root": root, "classes_file": classes_file, "max_pixels": max_pixels}
    known = ModelClasses(classes)
    source = BENCHMARKS[name](str(path), known, subset=subset, num_expected=num_expected, **options)
    source.model_classes = known.names
    logger = MMLogger.get_current_instance()
    for remark in source.remarks:
        logger.warning(f"{path} ({name}): {remark}")
    if source.num_left_out:
        logger.info(f"{path} ({name}): {source.num_left_out:,} images in folders of no class are left out, by the rule")
    return source
