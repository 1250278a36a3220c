"""Bytes of token stores and of image files, counted from what lies at a path.

A store's are those of everything training needs: codes, every label and checksum, header, indices and the codebook, but
not label lists of validation, reports or the tokenizer's weights. Those of image folders are the files of the images,
whose labels are their folders. Nothing is decoded.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from seitpp.images.recompressing import DEFAULT_QUALITY
from seitpp.ingest.shrink import MANIFEST
from seitpp.ingest.sources import open_image_source
from seitpp.ingest.sources.base import is_image_name
from seitpp.ingest.sources.files import list_files
from seitpp.io.progress import progress_bar
from seitpp.io.text import text_lines
from seitpp.io.untrusted import check_regular_file, parse_json_object, read_file
from seitpp.storage import SeitRelease, StoreReader, is_release

_MOST_LIST_BYTES = 1 << 28
_IF_MOVED = "if it was moved, say so with --moved OLD=NEW, or with --data-root where relative paths begin"
_TOLD = 1000  # files between two calls that tell of progress


@dataclass(frozen=True)
class TrainingData:
    """What a run trained on.

    Attributes:
        paths: Stores or folders.
        is_pixels: Whether they are images, not tokens.
        num_images: Images that were used.
        image_bytes: Mean bytes per image, label and checksum included.
        fixed_bytes: Bytes that any number of images needs: header, codebook and tables of a store.
        code_bytes: Mean bytes of an image's codes alone; None for images.
        is_computed: Whether only a part of what lies on disk was used, so that its bytes are a share.
        made: What `tools/dataset_converters/shrink_images.py` did to the images, in words.
    """

    paths: tuple[str, ...]
    is_pixels: bool
    num_images: int
    image_bytes: float
    fixed_bytes: int = 0
    code_bytes: float | None = None
    is_computed: bool = False
    made: str = ""

    @property
    def num_bytes(self) -> int:
        """All bytes."""
        return self.fixed_bytes + round(self.num_images * self.image_bytes)

    @property
    def num_code_bytes(self) -> int | None:
        """Bytes of the codes alone."""
        return None if self.code_bytes is None else round(self.num_images * self.code_bytes)

    def part(self, num_images: int) -> "TrainingData":
        """Return the data of which that many images were used."""
        return self if num_images == self.num_images else replace(self, num_images=num_images, is_computed=True)


def store_data(path: str, label_file: str | None = None) -> TrainingData:
    """Measure a token store or a release file."""
    if is_release(path):
        source: SeitRelease | StoreReader = SeitRelease(path, label_path=label_file, with_labels=False)
    elif os.path.isdir(path):
        source = StoreReader(path)
    else:
        raise FileNotFoundError(f"token store {path} does not exist; {_IF_MOVED}")
    sizes, count = source.section_bytes, len(source)
    fixed = sizes["other"] + sizes["tables"]
    return TrainingData((path,), False, count, (source.num_bytes - fixed) / count, fixed, sizes["tokens"] / count)


def image_data(path: str) -> TrainingData:
    """Measure the image files below a folder."""
    if not os.path.isdir(path):
        if os.path.exists(path):
            raise ValueError(f"{path} is no folder of images, of which alone bytes are counted")
        raise FileNotFoundError(f"images {path} do not exist; {_IF_MOVED}")
    names = [name for name in list_files(path) if is_image_name(name)]
    if not names:
        raise ValueError(f"{path} holds no images")
    return replace(_of_files(path, [os.path.join(path, name) for name in names]), made=_made(path))


def listed_data(path: str, list_file: str) -> TrainingData:
    """Measure the images that mmpretrain's list names, one line of `NAME CLASS` for each, in the folder `path`."""
    lines = text_lines(read_file(list_file, "list of images", at_most=_MOST_LIST_BYTES), list_file, "list of images")
    names = {line.rsplit(" ", 1)[0] for line in lines if line}
    if not names:
        raise ValueError(f"{list_file} lists no images")
    return _of_files(path, [os.path.join(path, name) for name in sorted(names)])


def source_data(path: str, split: str | None = None, root: str | None = None) -> TrainingData:
    """Measure what `open_image_source` opens: a folder, a list, or a file of many images, but no config."""
    folder = os.path.join(path, split) if split and os.path.isdir(os.path.join(path, split)) else path
    if os.path.isdir(folder) or not os.path.exists(path):
        return image_data(folder)
    if path.endswith(".py"):
        raise ValueError(f"{path} is a config, which would have to be run to count the bytes of its images")
    source = open_image_source(path, split=split, root=root, unlabelled=True)
    if source.listable:
        return _of_files(path, [os.path.join(source.root, name) for name in source.names])
    return TrainingData((path,), True, len(source), os.path.getsize(path) / len(source))


def _made(path: str) -> str:
    """Return what was done to a folder of images, as far as it says so; a damaged record says nothing."""
    record = os.path.join(path, MANIFEST)
    try:
        said = parse_json_object(read_file(record, "record", at_most=_MOST_LIST_BYTES), record).get("shrinking")
    except (ValueError, OSError):
        return ""
    done = {key: one for key, one in (said if isinstance(said, dict) else {}).items() if type(one) in (int, float)}
    words = []
    if "fraction" in done:
        words.append(f"random {100 * done['fraction']:.3g} %")
    if "count" in done:
        words.append(f"random {done['count']:,}")
    if "scale" in done:
        words.append(f"resolution x {done['scale']:g}")
    if "jpeg_quality" in done and ("scale" not in done or done["jpeg_quality"] != DEFAULT_QUALITY):
        words.append(f"JPEG quality {done['jpeg_quality']}")
    return ", ".join(words)


def _of_files(path: str, files: Sequence[str]) -> TrainingData:
    total = 0
    with progress_bar(f"measuring {path}", unit="files") as progress:
        for number, file in enumerate(files, 1):
            total += check_regular_file(file, "image").stat().st_size
            if number % _TOLD == 0:
                progress(number, len(files))
    return TrainingData((path,), True, len(files), total / len(files))


MEASURES: dict[str, Callable[..., TrainingData]] = {
    "store": store_data,
    "images": image_data,
    "list": listed_data,
    "source": source_data,
}
"""What measures each kind of path."""
