"""Time, memory and recall of the search for duplicates and leaks, on a store that is made up.

python tools/analysis_tools/benchmark_duplicates.py --images 1000000 --grid 16
python tools/analysis_tools/benchmark_duplicates.py --images 1000000 --grid 32 --store DIR    keeps the stores

An image shows 16 areas of one code each, of which noise covers a half; few codes are frequent, as in photographs. A
tenth of the images is blank, and another tenth nearly so, each with other noise at a fiftieth of the positions: crowds
that must not become all pairs of their members. 1,000 images are equal to another one, and 1,000 each differ from
another one at 1, 5, 10, 15, 20 and 25 % of the positions. A second store, a twentieth as large, holds such leaks of the
first, and else images of its own. *Found* is the share of what was planted that came out as a pair, *stated* what the
formula says. Memory is the most that the search has added at any time, without pages of the store's files, which the
system keeps as long as it has room. One thread is used.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import numpy as np
from rich.console import Console
from rich.table import Table

from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import StoreReader, StoreWriter
from seitpp.storage.duplicates import Duplicates, find_duplicates

CODEBOOK_SIZE, AREAS = 391, 4  # areas per side
BATCH, PLANTED = 4096, 1000
SHARES = (0.0, 0.01, 0.05, 0.1, 0.15, 0.2, 0.25)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive_number, default=100_000, help="of the store (default: 100,000)")
    parser.add_argument("--grid", type=positive_number, default=16, help="codes per side (default: 16)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="folder to keep both stores in, or to read them from")
    parser.add_argument(
        "--max-distance", type=float, default=SHARES[-1], help="share of the positions that may differ (default: 0.25)"
    )
    parser.add_argument("--recall", type=float, default=0.95, help="at the largest distance (default: 0.95)")
    return parser.parse_args(argv)


def make_images(count: int, grid: int, seed: int) -> np.ndarray:
    """Make images (n, grid, grid) of areas and noise."""
    rng = np.random.default_rng(seed)
    chances = 1 / np.arange(10, 10 + CODEBOOK_SIZE)
    levels = np.cumsum(chances / chances.sum())[:-1].astype(np.float32)
    areas = np.searchsorted(levels, rng.random((count, AREAS, AREAS), np.float32))
    repeats = -(-grid // AREAS)
    whole = areas.repeat(repeats, 1).repeat(repeats, 2)[:, :grid, :grid]
    noise = np.searchsorted(levels, rng.random((count, grid, grid), np.float32))
    return np.where(rng.random((count, grid, grid), np.float32) < 0.5, whole, noise).astype(np.uint16)


def changed(images: np.ndarray, distance: int, rng: np.random.Generator) -> np.ndarray:
    """Return images (n, grid, grid) with other codes at so many positions of each."""
    if not distance or not len(images):
        return images
    flat = images.reshape(len(images), -1).copy()
    places = rng.random(flat.shape, np.float32).argpartition(distance - 1, axis=1)[:, :distance]
    others = np.take_along_axis(flat, places, 1) + rng.integers(1, CODEBOOK_SIZE, size=places.shape)
    np.put_along_axis(flat, places, (others % CODEBOOK_SIZE).astype(np.uint16), 1)
    return flat.reshape(images.shape)


def write_store(path: Path, num_images: int, grid: int, seed: int, originals: Path | None = None) -> None:
    """Write a store; what is planted stands at its end, in the order of `SHARES`, blank images before that."""
    rng, planted = np.random.default_rng([1, seed]), planted_per_share(num_images)
    first_planted = num_images - planted * len(SHARES)
    blank, nearly = first_planted - num_images // 10, first_planted - num_images // 5
    with StoreWriter(path, codebook_size=CODEBOOK_SIZE, grid=(grid, grid), tokenizer={"name": "synthetic"}) as writer:
        first = make_images(planted, grid, seed) if originals is None else StoreReader(originals).read(slice(planted))
        with progress_bar(f"writing {path.name}") as progress:
            for start in range(0, first_planted, BATCH):
                images = make_images(min(BATCH, first_planted - start), grid, [seed, start])
                numbers = np.arange(start, start + len(images))
                if originals is None:
                    own = numbers < planted
                    images[own] = first[numbers[own]]
                    images[numbers >= nearly] = 0
                    noisy = (numbers >= nearly) & (numbers < blank)
                    images[noisy] = changed(images[noisy], grid * grid // 50, rng)
                writer.append(images)
                progress(start, num_images)
        for share in SHARES:
            writer.append(changed(first, int(share * grid * grid), rng))


def planted_per_share(num_images: int) -> int:
    return min(PLANTED, num_images // 40)


def own_memory() -> int:
    """Return the bytes of memory of this process that no file backs; 0 where the system does not tell (not Linux)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


@contextmanager
def added_memory() -> Iterator[list[int]]:
    """Yield a list of one number, which becomes the most bytes that the process has had more than before."""
    before, most, ended = own_memory(), [0], Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], own_memory() - before)

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()


def found_share(found: Duplicates, number: int) -> float:
    """Return the share of what was planted at the `number`th distance that was paired with an image at most as far."""
    planted = planted_per_share(found.num_samples[-1])
    start = len(found.distance) - planted * (len(SHARES) - number)
    distance = int(SHARES[number] * found.num_positions)
    return float((found.distance[start : start + planted] <= distance).mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Make the stores, search them and print a table."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.store or Path(temporary)
        sizes = {"train": args.images, "val": max(40, args.images // 20)}
        for seed, (name, count) in enumerate(sizes.items()):
            if not (folder / name).exists():
                write_store(folder / name, count, args.grid, seed, folder / "train" if seed else None)
        train, val = StoreReader(folder / "train"), StoreReader(folder / "val")
        console = Console(width=120)
        for title, other in (("within the store", None), ("between the stores", val)):
            start, cpu = time.perf_counter(), time.process_time()
            with added_memory() as memory, progress_bar(f"searching {title}") as progress:
                found = find_duplicates(train, other, args.max_distance, args.recall, progress)
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            table = Table("positions that differ", "found", "stated")
            for number, share in enumerate(SHARES):
                distance = int(share * found.num_positions)
                if distance > found.max_distance:
                    break
                table.add_row(
                    f"{distance} ({share:.0%})", f"{found_share(found, number):.1%}", f"{found.recall(distance):.1%}"
                )
            sizes = " and ".join(f"{size:,}" for size in found.num_samples)
            bands = "all pairs" if found.bands is None else f"{found.bands.count} bands of {found.bands.size} positions"
            console.print(f"{title}: {sizes} images of {args.grid} x {args.grid} codes, {bands}")
            console.print(table)
            largest = max(map(len, found.groups()), default=1)
            console.print(
                f"{seconds:.0f} s ({cpu:.0f} s of a core), {memory[0] / 2**20:,.0f} MiB; "
                f"{len(found.pairs()):,} pairs, largest group {largest:,}, in crowds {found.crowded:.1%}"
            )


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
