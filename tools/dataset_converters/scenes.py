"""A small set for semantic segmentation without a download: scenes rendered from real photographs and real handwriting.

    python tools/dataset_converters/scenes.py data/scenes

writes OUT_DIR/{images,annotations}/{train,val}/*.png, RGB scenes and 8-bit maps of class indices, 64 x 64 pixels, and
OUT_DIR/classes.txt. A scene is a crop of one of the two photographs that scikit-learn ships, with one to three of its
handwritten digits on it, enlarged and smoothed. A digit is cut out of a photograph and tinted, so its pixels tell that
something lies there, and its shape alone tells what: the classes are the background and four of the digits.

Of a photograph, 640 x 427 pixels, the first 480 columns are for training and the others for validation; of each digit's
images the first three quarters are for training. The result is the same every time. A run that was killed leaves
nothing that looks finished; running again repairs it.
"""

import argparse
import colorsys
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import counted_number, run_tool
from seitpp.io.progress import progress_bar

SIDE = 64  # pixels of a scene
CLASSES = {"background": None, "zero": 0, "one": 1, "four": 4, "seven": 7}  # the digit that a class is
# Left and right end (exclusive) of the strips of each part, in columns.
STRIPS = {"train": ((0, 480),), "val": ((480, 640),)}
TRAIN_SHARE = 0.75  # of each digit's images
DIGIT_SIDES = (28, 36)  # smallest and largest side of an object's square
INSIDE = 90  # grey values of an enlarged digit above this belong to the object
TINT = 0.55  # share of an object's colour that is not the photograph's
DONE = "scenes.json"


class Material(NamedTuple):
    """What the scenes of one part are made of."""

    strips: list[np.ndarray]  # parts of photographs, (H, W, 3), uint8
    digits: list[np.ndarray]  # for each class but the background its images, (n, 8, 8), uint8


def load_material() -> dict[str, Material]:
    """Load what each part is made of; the parts share no pixel and no digit."""
    from sklearn.datasets import load_digits, load_sample_images

    photos, digits = load_sample_images().images, load_digits()
    pixels = (digits.images * (255 / 16)).astype(np.uint8)
    by_class = [pixels[digits.target == digit] for digit in CLASSES.values() if digit is not None]
    ends = [round(TRAIN_SHARE * len(images)) for images in by_class]
    chosen = {
        "train": [images[:end] for images, end in zip(by_class, ends, strict=True)],
        "val": [images[end:] for images, end in zip(by_class, ends, strict=True)],
    }
    return {
        part: Material([photo[:, left:right] for left, right in strips for photo in photos], chosen[part])
        for part, strips in STRIPS.items()
    }


def crop(strips: Sequence[np.ndarray], side: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a random square out of a random strip, scaled down to (side, side, 3) from up to twice its size."""
    strip = strips[rng.integers(len(strips))]
    window = rng.integers(side, 2 * side + 1)
    top, left = (rng.integers(length - window + 1) for length in strip.shape[:2])
    image = Image.fromarray(strip[top : top + window, left : left + window])
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def tinted(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix pixels (H, W, 3) with a random bright colour."""
    colour = 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.7, 1), rng.uniform(0.6, 1)))
    return ((1 - TINT) * pixels + TINT * colour).round().astype(np.uint8)


def free_square(taken: np.ndarray, side: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draw top and left of a square of which no pixel is taken (SIDE, SIDE); None if a few draws find none."""
    for _ in range(50):
        top, left = rng.integers(SIDE - side + 1, size=2)
        if not taken[top : top + side, left : left + side].any():
            return int(top), int(left)
    return None


def render(material: Material, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a scene: pixels (SIDE, SIDE, 3) and class indices (SIDE, SIDE), uint8."""
    image, labels = crop(material.strips, SIDE, rng).copy(), np.zeros((SIDE, SIDE), np.uint8)
    taken = np.zeros((SIDE, SIDE), bool)
    for _ in range(rng.integers(1, 4)):
        kind, side = rng.integers(len(material.digits)), int(rng.integers(DIGIT_SIDES[0], DIGIT_SIDES[1] + 1))
        digit = material.digits[kind][rng.integers(len(material.digits[kind]))]
        if (corner := free_square(taken, side, rng)) is None:
            continue
        square = np.s_[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
        shape = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)) > INSIDE
        image[square][shape] = tinted(crop(material.strips, side, rng), rng)[shape]
        labels[square][shape] = kind + 1
        taken[square] = True
    return image, labels


def write_scenes(out_dir: Path, counts: dict[str, int], seed: int = 0) -> None:
    """Write so many scenes of each part, then the file that says so."""
    settings = {"counts": counts, "seed": seed, "classes": list(CLASSES), "size": SIDE}
    done = out_dir / DONE
    if done.is_file() and json.loads(done.read_text()) == settings:
        return
    for kind in ("images", "annotations"):
        for path in sorted((out_dir / kind).rglob("*")):
            if path.is_file() and not (path.parent.name in STRIPS and path.stem.isdigit() and path.suffix == ".png"):
                raise FileExistsError(f"{path} is not ours; name another folder")
    done.unlink(missing_ok=True)
    for kind in ("images", "annotations"):  # of another number or seed
        shutil.rmtree(out_dir / kind, ignore_errors=True)
    material, written = load_material(), 0
    with progress_bar("scenes") as advance:
        for part_number, (part, count) in enumerate(counts.items()):
            for kind in ("images", "annotations"):
                (out_dir / kind / part).mkdir(parents=True)
            for number in range(count):
                image, labels = render(material[part], np.random.default_rng([seed, part_number, number]))
                Image.fromarray(image).save(out_dir / "images" / part / f"{number:04d}.png")
                Image.fromarray(labels).save(out_dir / "annotations" / part / f"{number:04d}.png")
                written += 1
                advance(written, sum(counts.values()))
    (out_dir / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    with written_whole(done) as temporary:
        temporary.write_text(json.dumps(settings))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", type=Path, help="folder to write; its images/ and annotations/ are ours")
    parser.add_argument("--num-train", type=int, default=600, help="scenes to train on (default: 600)")
    parser.add_argument("--num-val", type=int, default=100, help="scenes to validate on (default: 100)")
    parser.add_argument("--seed", type=counted_number, default=0, help="another one draws other scenes (default: 0)")
    args = parser.parse_args(argv)
    if min(args.num_train, args.num_val) < 1:
        parser.error(f"--num-train {args.num_train} --num-val {args.num_val}: expected at least one scene of each")
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Write the scenes and say how many."""
    args = parse_args(argv)
    write_scenes(args.out_dir, {"train": args.num_train, "val": args.num_val}, args.seed)
    print(f"{args.out_dir}: {args.num_train} training and {args.num_val} validation scenes of {SIDE} x {SIDE} pixels.")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
