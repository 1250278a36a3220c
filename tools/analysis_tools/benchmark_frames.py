"""Why the frames of the dense codec are what they are: bytes and speed by layout of a row, level and dictionary.

    python tools/analysis_tools/benchmark_frames.py STORE [STORE ...] [--out FILE]

Dictionaries are trained on the first half of a store, bytes and speeds are those of the second: what is learnt from the
very samples that are measured would count twice. (Where neighbours in the store show the same picture, shuffle it
first.) Each part of the table varies one choice and leaves the others as `ZstdCodec` has them. Speeds are images per
second of CPU time that zstandard alone takes, one thread, medians of rounds in which the candidates take turns;
dictionaries are not in the bytes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from rich.table import Table

from seitpp.benchmarking.timing import add_out_argument, measure, show
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import BitPackedCodec, RawCodec, StoreReader, ZstdCodec
from seitpp.storage.zstd_rows import DICTIONARY_BYTES, LEVEL, FrameReader, row_compressor

MOST_ROWS, WRITTEN = 4096, 64
LEVELS = (1, 3, 6, 9, 12, 15, 19)
DICTIONARIES = (0, 2**10, 2**12, 2**14, 2**16)
LAYOUT = "low bytes, other bits"

Layout = Callable[[np.ndarray], np.ndarray]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE", help="stores of any codec")
    parser.add_argument("--rounds", type=positive_number, default=9, help="rounds of measuring; the median counts")
    add_out_argument(parser)
    return parser.parse_args(argv)


def layouts(codebook_size: int, channels: int | None) -> dict[str, Layout]:
    """Return ways to write codes (n, T) as rows of bytes."""
    codec = ZstdCodec.for_codebook(codebook_size, channels or 1)
    raw = RawCodec.for_codebook(codebook_size)

    def planes(codes: np.ndarray) -> np.ndarray:
        rows = raw.encode(codes.reshape(len(codes), -1, channels or 1).swapaxes(1, 2).reshape(codes.shape))
        return rows.reshape(*codes.shape, -1).swapaxes(1, 2).reshape(len(codes), -1)

    found = {
        LAYOUT: codec.encode,
        "integers": raw.encode,
        "byte planes": planes,
        "packed bits": BitPackedCodec.for_codebook(codebook_size).encode,
    }
    return found if channels is None else {**found, f"{LAYOUT}, cell by cell": ZstdCodec(codec.bits).encode}


def candidates(codebook_size: int, channels: int | None) -> list[tuple[str, Layout, int, int]]:
    """List what is measured: a name, layout, level and bytes of the dictionary."""
    by_layout = layouts(codebook_size, channels)
    return [
        *((name, layout, LEVEL, DICTIONARY_BYTES) for name, layout in by_layout.items()),
        *((f"level {level}", by_layout[LAYOUT], level, DICTIONARY_BYTES) for level in LEVELS if level != LEVEL),
        *(
            (f"dictionary of {size}", by_layout[LAYOUT], LEVEL, size)
            for size in DICTIONARIES
            if size != DICTIONARY_BYTES
        ),
    ]


def make_frames(
    layout: Layout, level: int, dictionary_bytes: int, fitted: np.ndarray, held_out: np.ndarray
) -> tuple[Callable[[], list[bytes]], Callable[[], list[bytes]], float]:
    """Return functions that compress and decompress the held-out samples, and the mean bytes of their frames."""
    plain, dictionary = [row.tobytes() for row in layout(held_out)], b""
    if dictionary_bytes:
        rows = [row.tobytes() for row in layout(fitted)]
        dictionary = zstandard.train_dictionary(dictionary_bytes, rows).as_bytes()
    compress = row_compressor(dictionary, len(plain[0]), level).compress
    decompress = FrameReader(dictionary).decompressor()
    frames = list(map(compress, plain))
    if list(map(decompress, frames)) != plain:
        raise RuntimeError("a row did not survive")
    return (
        lambda: list(map(compress, plain[:WRITTEN])),
        lambda: list(map(decompress, frames)),
        sum(map(len, frames)) / len(frames),
    )


def benchmark(path: Path, rounds: int) -> dict[str, Any]:
    """Measure one store."""
    reader = StoreReader(path)
    half = min(len(reader) // 2, MOST_ROWS)
    if half < 16:
        raise ValueError(f"{path} holds {len(reader)} samples, expected at least 32")
    dtype = RawCodec.for_codebook(reader.codebook_size).dtype
    codes = (reader.read(slice(0, 2 * half)).astype(np.int64) - reader.minimum).reshape(2 * half, -1).astype(dtype)
    runs, sizes = {}, {}
    chosen = candidates(reader.codebook_size, reader.channels)
    with progress_bar("compressing") as progress:
        for done, (name, *choice) in enumerate(chosen, 1):
            runs[f"{name}: write"], runs[f"{name}: read"], sizes[name] = make_frames(
                *choice, codes[:half], codes[half:]
            )
            progress(done, len(chosen))
    seconds = measure(runs, rounds, clock=time.process_time)
    return {
        "store": str(path),
        "held_out": half,
        "sample_shape": list(reader.sample_shape),
        "codebook_size": reader.codebook_size,
        "bitpacked_bytes": BitPackedCodec.for_codebook(reader.codebook_size).row_bytes(codes.shape[1]),
        "frames": {
            name: {
                "bytes_per_image": size,
                "write_images_per_s": min(half, WRITTEN) / seconds[f"{name}: write"],
                "read_images_per_s": half / seconds[f"{name}: read"],
            }
            for name, size in sizes.items()
        },
    }


def table_of(figures: dict[str, Any]) -> Table:
    """Show the figures of one store."""
    shape = " x ".join(map(str, figures["sample_shape"]))
    title = f"{figures['store']}: {figures['held_out']:,} of {shape}, K = {figures['codebook_size']}, held out"
    table = Table("frames", "bytes per image", "of bitpacked", "images/s, written", "read", title=title)
    for name, row in figures["frames"].items():
        size = row["bytes_per_image"]
        speeds = (f"{row[f'{kind}_images_per_s']:,.0f}" for kind in ("write", "read"))
        table.add_row(name, f"{size:,.1f}", f"{size / figures['bitpacked_bytes']:.3f}", *speeds)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables."""
    args = parse_args(argv)
    stores = list(map(partial(benchmark, rounds=args.rounds), args.stores))
    show([table_of(figures) for figures in stores], {"stores": stores}, f"{args.rounds} rounds", args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
