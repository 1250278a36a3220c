"""Real photographs without a download: crops of the two that scikit-learn ships, as class folders of PNG files.

    python tools/dataset_converters/sample_photos.py data/photos

writes OUT_DIR/{train,val}/{china,flower}/*.png, RGB and square. Every photograph, 640 x 427 pixels, is cut into three
vertical strips: the middle one, columns 256 to 415, is for validation, the other two are for training. A crop lies
within one strip, and is scaled by itself, so that no pixel of a validation crop is in a training crop. Crops are cut at
once, one and a half times and twice the size that is asked for, and scaled down, as far as they fit in a strip.

The result is the same every time. A run that was killed leaves nothing that looks finished; running again repairs it.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.progress import progress_bar

# Left and right end (exclusive) of the strips of each part, in columns.
STRIPS = {"train": ((0, 256), (416, 640)), "val": ((256, 416),)}
SCALES = (1.0, 1.5, 2.0)
# Crops of a strip overlap by all but this share of their side.
STEPS = {"train": 0.25, "val": 0.5}
DONE = "photos.json"


class Window(NamedTuple):
    """A square part of a photograph, in pixels."""

    top: int
    left: int
    side: int


def windows(height: int, strip: tuple[int, int], size: int, step: float) -> Iterator[Window]:
    """Yield the squares of a strip (first column, and the one after the last), all scales, row by row.

    Neighbours are `step` of their side apart; `size` is the side of a crop at scale 1.
    """
    for scale in SCALES:
        side = round(size * scale)
        stride = max(1, round(side * step))
        for top in range(0, height - side + 1, stride):
            for left in range(strip[0], strip[1] - side + 1, stride):
                yield Window(top, left, side)


def cut(photo: np.ndarray, window: Window, size: int) -> Image.Image:
    """Cut one crop, (size, size), scaled down from the pixels of its window alone."""
    top, left, side = window
    image = Image.fromarray(photo[top : top + side, left : left + side])
    return image if side == size else image.resize((size, size), Image.Resampling.LANCZOS)


def load_photos() -> dict[str, np.ndarray]:
    """Load the photographs by name, (427, 640, 3), RGB, uint8."""
    from sklearn.datasets import load_sample_images

    found = load_sample_images()
    return {Path(name).stem: image for name, image in zip(found.filenames, found.images, strict=True)}


def plan(photos: dict[str, np.ndarray], size: int) -> list[tuple[str, str, Window]]:
    """Return part, photograph and window of every crop."""
    narrowest = min(right - left for strips in STRIPS.values() for left, right in strips)
    if not 8 <= size <= narrowest:
        raise ValueError(f"size is {size} pixels; expected 8 to {narrowest}, the width of the validation strip")
    return [
        (part, name, window)
        for part, strips in STRIPS.items()
        for name, photo in photos.items()
        for strip in strips
        for window in windows(photo.shape[0], strip, size, STEPS[part])
    ]


def write_photos(out_dir: Path, size: int) -> dict[str, int]:
    """Write all crops, then the file that says so; return the number of crops of each part."""
    settings = {"size": size, "strips": STRIPS, "scales": SCALES, "steps": STEPS}
    settings = json.loads(json.dumps(settings))  # tuples to lists, as they are read back
    photos = load_photos()
    crops = plan(photos, size)
    counts = {part: sum(crop[0] == part for crop in crops) for part in STRIPS}
    done = out_dir / DONE
    if done.is_file() and json.loads(done.read_text()) == settings:
        return counts
    for part in STRIPS:
        found = sorted(path.name for path in (out_dir / part).iterdir()) if (out_dir / part).exists() else []
        if foreign := [name for name in found if name not in photos]:
            raise FileExistsError(f"{out_dir / part} holds {foreign[0]!r}, which is not ours; name another folder")
    done.unlink(missing_ok=True)
    for part in STRIPS:  # crops of another size
        shutil.rmtree(out_dir / part, ignore_errors=True)
    with progress_bar("crops") as advance:
        for number, (part, name, window) in enumerate(crops, start=1):
            path = out_dir / part / name / f"{window.side:03d}_{window.top:03d}_{window.left:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cut(photos[name], window, size).save(path)
            advance(number, len(crops))
    with written_whole(done) as temporary:
        temporary.write_text(json.dumps(settings))
    return counts


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path, help="folder to write, such as data/photos; its train/ and val/ are ours")
    parser.add_argument(
        "--size", type=positive_number, default=64, help="height and width of a crop in pixels (default: 64)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the crops and say how many."""
    args = parse_args(argv)
    counts = write_photos(args.out_dir, args.size)
    print(f"{args.out_dir}: {counts['train']} training and {counts['val']} validation crops of {args.size} pixels.")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
