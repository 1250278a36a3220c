"""Images to class folders that take less space, as the pixel baselines of Table 1: fewer images, JPEG, fewer pixels.

Chunks of images are written by worker processes; a record of each finished chunk lets a run that was killed go on. The
folder ends with `shrink.json`, which says what was done and counts the bytes.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from seitpp.images.decoding import UnreadableImageError
from seitpp.images.recompressing import DEFAULT_QUALITY, check_image, recompress
from seitpp.ingest.class_folders import check_all_classes, class_folders, ending_of, order_warning, target_stems
from seitpp.ingest.loading import in_workers, is_of_one_image, reason_of
from seitpp.ingest.sources import ImageSource
from seitpp.ingest.sources.files import is_url, join
from seitpp.io.atomic_write import remove_unfinished, write_whole
from seitpp.io.locks import FolderLock
from seitpp.io.progress import Advance, progress_bar
from seitpp.io.text import shown
from seitpp.io.untrusted import parse_json_object, read_file
from seitpp.storage import choose_subset

MANIFEST = "shrink.json"
STAGING = ".shrink"
_REQUEST = "request.json"
_CHUNK = 256  # images
_MOST_BYTES = 1 << 28  # of a record, which names what was left out
_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True)
class Shrinking:
    """What is done to images: a part of them is taken, and each is written anew as JPEG, or copied byte for byte.

    Args:
        fraction: Share of the images, in (0, 1], drawn at random from all alike; or
        count: their number.
        seed: Seed of the draw. `tools/train.py --fraction` draws the same images of a store of this source.
        jpeg_quality: Quality from 1 to 100 that images are written at; 75 where only `scale` is given.
        scale: Factor of height and width, in (0, 1].
    """

    fraction: float | None = None
    count: int | None = None
    seed: int = 0
    jpeg_quality: int | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        if not self.draws and not self.rewrites:
            raise ValueError("nothing to do: give a share or number of images, a JPEG quality or a scale")
        if self.fraction is not None and self.count is not None:
            raise ValueError("a share and a number of images are given; expected one of them")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise ValueError(f"the share of the images is {self.fraction}, expected a number in (0, 1]")
        if self.jpeg_quality is not None and not 1 <= self.jpeg_quality <= 100:
            raise ValueError(f"the JPEG quality is {self.jpeg_quality}, expected a whole number from 1 to 100")
        if self.scale is not None and not 0 < self.scale <= 1:
            raise ValueError(f"the scale of height and width is {self.scale}, expected a number in (0, 1]")

    @property
    def draws(self) -> bool:
        """Whether only a part of the images is taken."""
        return self.fraction is not None or self.count is not None

    @property
    def rewrites(self) -> bool:
        """Whether images are written anew, and not copied."""
        return self.jpeg_quality is not None or self.scale is not None

    def describe(self) -> dict[str, Any]:
        """Return what the manifest says of it."""
        drawn = {"fraction": self.fraction, "count": self.count, "seed": self.seed if self.draws else None}
        quality = (self.jpeg_quality or DEFAULT_QUALITY) if self.rewrites else None
        written = {"jpeg_quality": quality, "subsampling": "4:2:0" if self.rewrites else None}
        scaled = {"scale": self.scale, "filter": None if self.scale is None else "bicubic with antialiasing"}
        return {key: value for key, value in (drawn | written | scaled).items() if value is not None}


@dataclass
class Shrunken:
    """What was written: counts, bytes, and the images that could not be read, with the reasons.

    `source_bytes` are those of all images of the source, None where they were not all looked at.
    """

    num_images: int = 0
    num_bytes: int = 0
    source_images: int = 0
    source_bytes: int | None = 0
    left_out: list[list[str]] = field(default_factory=list)

    def add(self, other: "Shrunken") -> None:
        """Add the counts of another part."""
        self.num_images += other.num_images
        self.num_bytes += other.num_bytes
        self.source_images += other.source_images
        self.source_bytes += other.source_bytes
        self.left_out += other.left_out


def shrink_images(
    source: ImageSource, out: str | Path, how: Shrinking, progress: Advance, num_workers: int = 2, strict: bool = False
) -> tuple[Shrunken, bool]:
    """Write the images of a source as class folders, from where an earlier run left them.

    Args:
        source: Images with a class each, or without.
        out: Folder to write to, new, or that of a run of the same request.
        how: What is done to the images.
        progress: Called with the images done and their number.
        num_workers: Processes that read and write; 0 works in this one.
        strict: Whether an image that cannot be read ends the run; otherwise it is left out.

    Returns:
        What is there, and whether all of it was there already.

    Raises:
        ValueError: The source has label maps, a class has a name that no folder may have or would be left without an
            image, or an image cannot be read and the run is strict.
        FileExistsError: Something else lies at `out`, or the result of another request.
    """
    source.refuse_inside(str(out))
    if source.annotated:
        raise ValueError(f"{source.root} has label maps, and pixel baselines are of classifiers; name a source without")
    out, folders = Path(out), class_folders(source)
    chosen = np.arange(len(source))
    if how.draws:
        chosen = choose_subset(
            len(source), None, 1, fraction=how.fraction, count=how.count, class_balanced=False, seed=how.seed
        )
    check_all_classes(source, folders, chosen, "take more, or another --seed")
    request = {"shrinking": how.describe(), "source": {"num_images": len(source), "sha256": source.fingerprint()}}
    if _is_done(out, request):
        return _read_record(out / MANIFEST), True
    with _begun(out, request):
        work = _Writer(source, out, how, target_stems(source, folders, how.rewrites), strict)
        total = _write(work, chosen.tolist(), num_workers, progress)
        _check_left_out(source, folders, chosen, total.left_out)
        total.source_images = len(source)
        if how.draws:  # the others were not read
            total.source_bytes = _bytes_of_files(source)
        write_whole(out / MANIFEST, _as_json({**request, **asdict(total)}))
    shutil.rmtree(out / STAGING, ignore_errors=True)
    return total, False


def warnings_of(source: ImageSource) -> list[str]:
    """Say what a person may want to know before a long run, one line each."""
    order = order_warning(class_folders(source))
    return [*source.warnings(), *([order] if order else [])]


class _Writer(Dataset):
    """Map from a chunk of image numbers to what was written for it."""

    def __init__(self, source: ImageSource, out: Path, how: Shrinking, stems: list[str], strict: bool) -> None:
        self.source, self.out, self.how, self.stems, self.strict = source, out, how, stems, strict

    def __getitems__(self, numbers: Sequence[int]) -> Shrunken:
        """Write images; leave out those that cannot be read."""
        done = Shrunken()
        for number in numbers:
            try:
                content = self.source.read(number)
                ending, written = self._made(number, content)
            except (UnreadableImageError, OSError) as error:
                self._leave_out(done, number, error)
                continue
            write_whole(self.out / f"{self.stems[number]}{ending}", written)
            done.num_images += 1
            done.num_bytes += len(written)
            done.source_bytes += len(content)
        return done

    def _made(self, number: int, content: bytes) -> tuple[str, bytes]:
        """Return the ending and the bytes of the new file."""
        if self.how.rewrites:
            quality = self.how.jpeg_quality or DEFAULT_QUALITY
            return ".jpg", recompress(content, quality, self.how.scale or 1.0, self.source.max_pixels)
        return ending_of(self.source.names[number], check_image(content, self.source.max_pixels)), content

    def _leave_out(self, done: Shrunken, number: int, error: Exception) -> None:
        name = self.source.names[number]
        reason = reason_of(error)
        if not is_of_one_image(error):
            raise OSError(f"{name} cannot be read at present: {reason}. Run the same command again to continue")
        if self.strict:
            raise ValueError(f"{join(self.source.root, name)} cannot be read: {reason}; mend it, or leave it out")
        done.left_out.append([name, reason])


def _write(work: _Writer, chosen: list[int], num_workers: int, progress: Advance) -> Shrunken:
    """Write the chunks that have no record yet; return the counts of all."""
    staging, total = work.out / STAGING, Shrunken()
    chunks = [chosen[start : start + _CHUNK] for start in range(0, len(chosen), _CHUNK)]
    records = [staging / f"{number:08d}.json" for number in range(len(chunks))]
    todo = [number for number, record in enumerate(records) if not record.exists()]
    if len(todo) < len(chunks):  # an earlier run may have been killed while it wrote
        for folder in {(work.out / work.stems[number]).parent for number in chosen}:
            remove_unfinished(folder)
    done = sum(map(len, chunks)) - sum(len(chunks[number]) for number in todo)
    progress(done, len(chosen))
    made = in_workers(work, [chunks[number] for number in todo], num_workers)
    for number, written in zip(todo, made, strict=True):
        write_whole(records[number], _as_json(asdict(written)))
        done += len(chunks[number])
        progress(done, len(chosen))
    for record in records:
        total.add(_read_record(record))
    return total


def _check_left_out(
    source: ImageSource, folders: list[str] | None, chosen: np.ndarray, left_out: list[list[str]]
) -> None:
    """Refuse a result that lacks all images, or all of a class, since they could not be read."""
    if not left_out:
        return
    names = {name for name, _ in left_out}
    kept = np.array([number for number in chosen.tolist() if source.names[number] not in names], np.int64)
    if not len(kept):
        raise ValueError(f"none of the {len(chosen):,} images can be read, such as {': '.join(left_out[0])}")
    check_all_classes(source, folders, kept, f"mend the files that cannot be read, such as {': '.join(left_out[0])}")


def _is_done(out: Path, request: dict[str, Any]) -> bool:
    """Whether the folder holds the whole result of a request; raise `FileExistsError` for anything else that it has."""
    for path in (out / MANIFEST, out / STAGING / _REQUEST):
        if path.exists():
            found = parse_json_object(read_file(path, "record", at_most=_MOST_BYTES), path)
            _compare(out, {key: found.get(key) for key in request}, request)
            return path.name == MANIFEST
    if out.exists() and (not out.is_dir() or any(entry.name != STAGING for entry in out.iterdir())):
        raise FileExistsError(f"{out} exists and is not of such a run; name a new folder")
    return False


def _compare(out: Path, found: dict[str, Any], request: dict[str, Any]) -> None:
    for key, asked in request.items():
        if found[key] != asked:
            raise FileExistsError(
                f"{out} is of another run, its {key} is {shown(found[key])} and not {shown(asked)}; name another folder"
            )


@contextmanager
def _begun(out: Path, request: dict[str, Any]) -> Iterator[None]:
    """Keep other runs out of a folder, and mark it as that of a request."""
    lock = FolderLock(out / STAGING, "folder", _PATIENCE_SECONDS)
    try:
        write_whole(out / STAGING / _REQUEST, _as_json(request))
        yield
    finally:
        lock.release()


def _bytes_of_files(source: ImageSource) -> int | None:
    """Return the bytes of all image files of a source; None where it has none on this machine, or one is missing."""
    paths = [join(source.root, name) for name in source.names] if source.listable else []
    if not paths or any(map(is_url, paths)):
        return None
    total = 0
    with progress_bar("counting the bytes of all images", unit="images") as progress:
        for number, path in enumerate(paths, 1):
            try:
                total += os.path.getsize(path)
            except OSError:
                return None
            progress(number, len(paths))
    return total


def _read_record(path: Path) -> Shrunken:
    record = parse_json_object(read_file(path, "record", at_most=_MOST_BYTES), path)
    names = Shrunken.__dataclass_fields__
    if not names.keys() <= record.keys():
        raise ValueError(f"{path} is no record of shrunken images; remove its folder and run the command again")
    return Shrunken(**{name: record[name] for name in names})


def _as_json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()
