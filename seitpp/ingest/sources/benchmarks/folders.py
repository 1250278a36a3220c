"""Sets in which a class is named as the model's: ImageNet-R, ImageNet-Sketch, ImageNet-C, and anybody's own."""

from collections.abc import Mapping

from seitpp.ingest.sources.base import ImageSource
from seitpp.ingest.sources.benchmarks.base import BenchmarkSource, check_classes, class_names_of
from seitpp.ingest.sources.benchmarks.imagenet_r_classes import IMAGENET_R_CLASSES
from seitpp.ingest.sources.benchmarks.model_classes import NUM_IMAGENET, ModelClasses
from seitpp.ingest.sources.opening import open_image_source
from seitpp.io.text import shorten

_NUM_IMAGENET_R, _NUM_SKETCH = 30_000, 50_889


def open_folders(
    path: str, classes: ModelClasses, *, subset: bool, num_expected: int | None, **options: object
) -> BenchmarkSource:
    """Open images of the model's classes, or of some of them where they are declared a `subset`."""
    source = open_image_source(path, **options)
    indices, remarks = _by_name(source, path, classes, subset)
    return _benchmark(source, indices, "folders", _share(indices, classes), num_expected, remarks)


def open_imagenet_sketch(
    path: str, classes: ModelClasses, *, subset: bool, num_expected: int | None, **options: object
) -> BenchmarkSource:
    """Open ImageNet-Sketch: all 1000 classes, 50,889 images in the archive (its readme says 50 per class)."""
    classes.imagenet_ids("ImageNet-Sketch")
    source = open_image_source(path, **options)
    indices, remarks = _by_name(source, path, classes, subset)
    expected = _NUM_SKETCH if num_expected is None else num_expected
    return _benchmark(source, indices, "imagenet_sketch", _share(indices, classes), expected, remarks)


def open_imagenet_r(
    path: str, classes: ModelClasses, *, subset: bool, num_expected: int | None, **options: object
) -> BenchmarkSource:
    """Open ImageNet-R: 30,000 renditions of 200 of ImageNet's classes, whatever else the model knows."""
    indices = _imagenet_r_indices(classes)
    source = open_image_source(path, **options)
    _refuse_numbers(source, path)
    remarks = check_classes(source, path, list(indices), subset=subset)
    expected = _NUM_IMAGENET_R if num_expected is None else num_expected
    found = _benchmark(source, indices, "imagenet_r", "the 200 classes of ImageNet-R", expected, remarks)
    if dict(found.skipped) == {".txt": 1}:  # the archive's README.txt
        found.skipped = {}
    return found


def _share(indices: Mapping[str, int], classes: ModelClasses) -> str:
    """Say how many of the model's classes have images."""
    total = NUM_IMAGENET if classes.names is None else len(classes.names)
    return f"all {total} classes" if len(indices) == total else f"{len(indices)} of {total} classes"


def _benchmark(
    source: ImageSource,
    indices: Mapping[str, int],
    kind: str,
    convention: str,
    num_expected: int | None,
    remarks: list[str],
) -> BenchmarkSource:
    label_sets = {name: (index,) for name, index in indices.items()}
    return BenchmarkSource(
        source, label_sets, kind=kind, convention=convention, num_expected=num_expected, remarks=remarks
    )


def _imagenet_r_indices(classes: ModelClasses) -> dict[str, int]:
    if classes.names is None:
        return IMAGENET_R_CLASSES
    if lacking := [name for name in IMAGENET_R_CLASSES if name not in classes]:
        raise ValueError(
            f"ImageNet-R has 200 classes, and the model lacks {len(lacking)} of them: {shorten(lacking, 4)}; it has "
            f"{shorten(map(repr, classes.names), 4)}. Name the model's classes by their WordNet ids (classes, "
            "classes_file), or score folders of its own classes as name='folders'"
        )
    return {name: classes.index(name) for name in IMAGENET_R_CLASSES}


def _by_name(source: ImageSource, path: str, classes: ModelClasses, subset: bool) -> tuple[dict[str, int], list[str]]:
    """Return the model's index of each class of the source, and remarks on classes without images."""
    found = class_names_of(source, path)
    if found is None:
        return _by_number(source, path, classes, subset)
    if classes.names is None:
        return classes.numbered(found, path), []
    remarks = check_classes(source, path, classes.names, subset=subset)
    return {name: classes.index(name) for name in found}, remarks


def _by_number(source: ImageSource, path: str, classes: ModelClasses, subset: bool) -> tuple[dict[str, int], list[str]]:
    """The same for a source whose labels are numbers without names: these are the model's indices."""
    names = classes.names or [str(number) for number in range(NUM_IMAGENET)]
    if source.labels.max() >= len(names):
        raise ValueError(f"{path} has label {source.labels.max()}, the model has {len(names)} classes")
    source.classes = names
    remarks = check_classes(source, path, names, subset=subset)
    return {names[number]: number for number in sorted(set(source.labels.tolist()))}, remarks


def _refuse_numbers(source: ImageSource, path: str) -> None:
    if class_names_of(source, path) is None:
        raise ValueError(
            f"{path} has labels that are numbers without names, and nothing says whether they count ImageNet-R's 200 "
            "classes or ImageNet's 1000; name the classes by their WordNet ids"
        )
