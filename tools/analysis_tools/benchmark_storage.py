"""Images/s of reading stored codes: random batches and whole stores of each codec, and opening a release file.

    python tools/analysis_tools/benchmark_storage.py [--images 50000] [--json FILE]

The codes are random, 32 x 32 of 391, which is the hardest case for gzip and no different from real ones for the store.
One thread; the candidates take turns for the random reads, whose medians count. With `--images 1281167` it is the size
of ImageNet-1k (4 GB of temporary files, and some minutes to write them).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from seitpp.io.command_line import positive_number, run_tool
from seitpp.progress import progress_bar
from seitpp.storage import SeitRelease, StoreReader, StoreWriter, write_release

CODEBOOK_SIZE, GRID = 391, (32, 32)

# Of rows of one length; tools/analysis_tools/benchmark_codecs.py compares all on real codes.
_CODECS = ("bitpacked", "raw")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=positive_number, default=50_000, help="images of the store")
    parser.add_argument("--batch-size", type=positive_number, default=512, help="images of a random read")
    parser.add_argument("--rounds", type=positive_number, default=20, help="random reads; the median counts")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(argv)


def write_stores(folder: Path, num_images: int) -> dict[str, Path]:
    """The same random codes in every codec, and as a release file."""
    paths = {codec: folder / codec for codec in _CODECS}
    for codec, path in paths.items():
        rng = np.random.default_rng(0)
        options = {"codebook_size": CODEBOOK_SIZE, "grid": GRID, "tokenizer": {"name": "random"}, "codec": codec}
        with progress_bar(f"writing {codec}") as progress, StoreWriter(path, **options) as writer:
            while writer.num_samples < num_images:
                count = min(10_000, num_images - writer.num_samples)
                writer.append(rng.integers(0, CODEBOOK_SIZE, (count, *GRID), dtype=np.uint16))
                progress(writer.num_samples, num_images)
    with progress_bar("writing a release file") as progress:
        paths["release"] = write_release(StoreReader(paths["raw"]), folder / "random", progress=progress)[0].path
    return paths


def measure_reads(paths: dict[str, Path], batch_size: int, rounds: int) -> dict[str, float]:
    """Median images/s of random batches and of the whole, by codec."""
    readers = {codec: StoreReader(paths[codec]) for codec in _CODECS}
    rng = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {codec: [] for codec in readers}
    for _ in range(rounds):
        for codec, reader in readers.items():
            places = rng.integers(0, len(reader), batch_size)
            start = time.perf_counter()
            reader.read(places)
            seconds[codec].append(time.perf_counter() - start)
    speeds = {f"{codec}: random batches": batch_size / statistics.median(taken) for codec, taken in seconds.items()}
    for codec, reader in readers.items():
        start = time.perf_counter()
        count = sum(len(batch) for batch in reader.iter_batches())
        speeds[f"{codec}: all in order"] = count / (time.perf_counter() - start)
    return speeds


def main(argv: Sequence[str] | None = None) -> int:
    """Write, measure, print the table."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_stores(Path(folder), args.images)
        speeds = measure_reads(paths, args.batch_size, args.rounds)
        start = time.perf_counter()
        release = SeitRelease(paths["release"], codebook_size=CODEBOOK_SIZE)
        with progress_bar("opening the release file") as progress:
            release.decode(progress)
        seconds = time.perf_counter() - start
        speeds["release file: open, all decoded"] = len(release) / seconds
        sizes = {codec: StoreReader(paths[codec]).num_bytes / args.images for codec in _CODECS}
        sizes["release file"] = release.num_bytes / args.images
    table = Table("", "images/s", "bytes an image")
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:,.0f}", f"{sizes[name.split(':')[0]]:,.1f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"The release file of {args.images:,} images opened in {seconds:.1f} s.")
    if args.json:
        args.json.write_text(json.dumps({"images_per_s": speeds, "bytes_an_image": sizes}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
