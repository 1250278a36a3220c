"""Bytes per image and time to open, read at random and read in order, of every codec; and stores of any size.

    python tools/analysis_tools/benchmark_store.py [STORE ...] [--out FILE]     random codes by default
    python tools/analysis_tools/benchmark_store.py STORE --images 1281167       a store of that size, of STORE's images
    python tools/analysis_tools/benchmark_store.py --shards 313 10000 24415     what opening takes, by number of shards
    python tools/analysis_tools/benchmark_store.py --photographs FOLDER         write a store to measure, see below

*Bytes* are those of rows, row index and dictionaries; labels and checksums are the same for all and left out. *Open*
includes the labels. *Random* reads ten batches of `--batch-size` samples from anywhere, *single* one sample after the
other, *in order* reads on from the start. The release's format is decoded whole, as a reader of it must. One thread,
and files that the system has in memory; medians count. Candidates take turns, but for random reads, which are of one
store after the other. *Of a core* is the processor time of a batch, which other work on the machine changes less. *Rows
alone* is the lower bound: the same random rows of the first codec with a fixed width, copied out of one `np.memmap` per
shard, neither decoded nor checked.

Without stores the codes are random, 32 x 32 of 391, as many as ImageNet-1k has, in shards of 4,096 images: the hardest
case for every codec, but the easiest to decompress. Their content repeats after 16 shards, the files do not. `--images`
makes a store of the same shape whose images are those of STORE (plain codes), each shifted around at random. `--shards`
takes files with holes, of which opening reads only what it reads of any.

`--photographs` makes codes from the two photographs of scikit-learn (427 x 640): k-means of 8 x 8 patches, K = 391,
fitted to the upper 156 rows; images of 256 x 256 from the rows below, one half of them from the left side of both
photographs, the other half from the right. The images overlap, so the store shows how codecs compare, not what another
data set takes.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from seitpp.benchmarking.timing import add_out_argument, measure, show
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import (
    CODECS,
    SeitRelease,
    StoreReader,
    StoreSettings,
    StoreWriter,
    ZstdCodec,
    copy_store,
    shard_entry,
    write_release,
)
from seitpp.storage.codecs import samples_at_a_time
from seitpp.storage.header import HEADER_FILE, shard_name, write_header
from seitpp.storage.release.escapes import MAX_RELEASE_CODES
from seitpp.storage.shard import SHARD_HEADER

CODEBOOK_SIZE, GRID, NUM_CLASSES, SAMPLES_PER_SHARD = 391, (32, 32), 1000, 4096
DIFFERENT_SHARDS = 16
ROWS_ALONE, IMAGENET = "rows alone", 1_281_167
MOST_IN_ORDER, RELEASE_IMAGES, SINGLE_READS, RANDOM_READS = 100_000, 20_000, 64, 10


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", type=Path, metavar="STORE", help="stores to measure")
    parser.add_argument("--images", type=positive_number, help="images of the store that is made up")
    parser.add_argument("--codecs", nargs="+", choices=sorted(CODECS), default=sorted(CODECS), help="codecs to measure")
    parser.add_argument("--shards", nargs="+", type=positive_number, metavar="N", help="measure opening so many shards")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="write the store of photographs there")
    parser.add_argument("--batch-size", type=positive_number, default=512, help="images of a random read")
    parser.add_argument("--rounds", type=positive_number, default=20, help="rounds of measuring; the median counts")
    add_out_argument(parser)
    return parser.parse_args(argv)


def write_photographs(folder: Path) -> None:
    """The store that the module docstring describes."""
    from sklearn.datasets import load_sample_images

    from seitpp.tokenizers import PatchKMeans

    photographs = [torch.from_numpy(image.copy()).permute(2, 0, 1) / 255 for image in load_sample_images().images]
    upper = [
        image[:, y : y + 152, x : x + 632] for image in photographs for y in range(0, 5, 2) for x in range(0, 8, 2)
    ]
    fitted = PatchKMeans((152, 632), 8).fit(torch.stack(upper), codebook_size=CODEBOOK_SIZE, max_patches=2**15)
    tokenizer = PatchKMeans(256, 8, codebook=fitted.codebook)
    options: dict[str, Any] = {"tokenizer": tokenizer.describe(), "codebook": tokenizer.codebook.numpy()}
    with StoreWriter(folder, codebook_size=CODEBOOK_SIZE, grid=GRID, **options) as writer:
        for side in (0, 320):
            for image in photographs:
                corners = [(y, x) for y in range(156, 172) for x in range(side, side + 65, 5)]
                lower = torch.stack([image[:, y : y + 256, x : x + 256] for y, x in corners])
                writer.append(tokenizer.encode(lower).numpy())
    print(f"{folder}: {writer.num_samples} images of 32 x 32 codes")


def made_up_settings(codec: str, like: StoreReader | None = None) -> StoreSettings:
    """Return what the stores are that are made up, of random codes or of the images of another one."""
    return StoreSettings(
        codebook_size=CODEBOOK_SIZE if like is None else like.codebook_size,
        grid=GRID if like is None else like.grid,
        tokenizer={"name": "random"},
        samples_per_shard=SAMPLES_PER_SHARD,
        codec=codec,
        label_kind="class",
        classes=[str(number) for number in range(NUM_CLASSES)],
    )


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return images (n, H, W), each moved around the edges by its own rows and columns."""
    shifts = rng.integers(0, images.shape[1:], (len(images), 2))
    return np.stack([np.roll(image, tuple(shift), (0, 1)) for image, shift in zip(images, shifts, strict=True)])


def write_made_up(folder: Path, codec: str, num_images: int, like: StoreReader | None = None) -> Path:
    """Write a store of random codes, or of the images of another one, whose shards repeat after some."""
    settings, rng, shards, contents = made_up_settings(codec, like), np.random.default_rng(0), [], []
    folder.mkdir(parents=True)
    with progress_bar(f"writing {codec}") as progress:
        for start in range(0, num_images, SAMPLES_PER_SHARD):
            count, number = min(SAMPLES_PER_SHARD, num_images - start), len(shards)
            if number < DIFFERENT_SHARDS or count < SAMPLES_PER_SHARD:
                if like is None:
                    codes = rng.integers(0, settings.codebook_size, (count, *settings.grid), dtype=np.uint16)
                else:
                    codes = shifted(like.read(rng.integers(0, len(like), count)), rng)
                contents.append(settings.encode_shard(codes, rng.integers(0, NUM_CLASSES, count)))
            content = contents[-1 if count < SAMPLES_PER_SHARD else number % DIFFERENT_SHARDS]
            (folder / shard_name(number)).write_bytes(content)
            shards.append(shard_entry(shard_name(number), content, count))
            progress(start + count, num_images)
    write_header(folder, {**settings.header(), "num_samples": num_images, "complete": True, "shards": shards})
    return folder


def write_holes(folder: Path, num_shards: int) -> Path:
    """Write a store of shards that consist of their header and a hole."""
    settings = made_up_settings("raw")
    empty = np.zeros((SAMPLES_PER_SHARD, *GRID), np.uint16)
    content = settings.encode_shard(empty, np.zeros(SAMPLES_PER_SHARD, int))
    entry, shards = shard_entry("", content, SAMPLES_PER_SHARD), []
    folder.mkdir(parents=True)
    for number in range(num_shards):
        shards.append({**entry, "file": shard_name(number)})
        with open(folder / shard_name(number), "wb") as file:
            file.write(content[:64])
            file.truncate(len(content))
    total = num_shards * SAMPLES_PER_SHARD
    write_header(folder, {**settings.header(), "num_samples": total, "complete": True, "shards": shards})
    return folder


def resident_bytes() -> int:
    """Return memory of this process."""
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def measure_opening(path: Path) -> dict[str, float]:
    """Return seconds and memory that a reader takes, without and with its labels."""
    memory, start = resident_bytes(), time.perf_counter()
    reader = StoreReader(path)
    opened, reader_bytes = time.perf_counter(), resident_bytes() - memory
    num_labels = len(reader.labels)
    labelled, both_bytes = time.perf_counter(), resident_bytes() - memory
    return {
        "images": num_labels,
        "header_bytes": (path / HEADER_FILE).stat().st_size,
        "open_s": opened - start,
        "labels_s": labelled - opened,
        "reader_bytes": reader_bytes,
        "reader_and_labels_bytes": both_bytes,
    }


def read_in_order(reader: StoreReader, num_images: int) -> None:
    """Read the first images."""
    step = samples_at_a_time(int(np.prod(reader.sample_shape)))
    for _ in islice(reader.iter_batches(), -(-num_images // step)):
        pass


def random_seconds(run: Callable[[], object], rounds: int) -> dict[str, float]:
    """Return milliseconds of a random batch, by the clock (median) and of a core (mean), of one reader at work.

    Stores do not take turns here: together they have more shards than files are kept open, so that each turn would
    begin by opening them again. As many calls come first and do not count: they read pages for the first time.
    """
    for _ in range(rounds):
        run()
    walls, core = [], time.process_time()
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        walls.append(time.perf_counter() - start)
    core = (time.process_time() - core) / rounds
    per_batch = 1e3 / RANDOM_READS
    return {"random_ms": statistics.median(walls) * per_batch, "random_core_ms": core * per_batch}


def gather_rows(shards: Sequence[np.ndarray], starts: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Return rows (n, R) of some samples, whose shards (n_i, R) begin with the samples `starts`."""
    numbers = np.searchsorted(starts, indices, side="right") - 1
    rows = np.empty((len(indices), shards[0].shape[1]), np.uint8)
    for row, (number, position) in enumerate(zip(numbers.tolist(), (indices - starts[numbers]).tolist(), strict=True)):
        rows[row] = shards[number][position]
    return rows


def rows_alone(path: Path, batch_size: int) -> Callable[[], None]:
    """Read random rows of a fixed width without decoding or checking them, what no reader can do without."""
    reader, rng = StoreReader(path), np.random.default_rng(0)
    row_bytes, entries = reader.read_rows([0]).shape[1], reader.header["shards"]
    shards = [
        np.asarray(np.memmap(path / entry["file"], np.uint8, "r", SHARD_HEADER.size, (entry["num_samples"], row_bytes)))
        for entry in entries
    ]
    starts = np.cumsum([0, *(entry["num_samples"] for entry in entries)])[:-1]

    def run() -> None:
        for _ in range(RANDOM_READS):
            gather_rows(shards, starts, rng.integers(0, len(reader), batch_size))

    return run


def runs_of(path: Path, batch_size: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Return what is timed of a store, with the images that each takes."""
    reader, rng = StoreReader(path), np.random.default_rng(0)
    in_order = min(len(reader), MOST_IN_ORDER)

    def read_random(times: int, count: int) -> None:
        for _ in range(times):
            reader.read(rng.integers(0, len(reader), count))

    return {
        "open": (lambda: StoreReader(path).labels, 1),
        "random": (partial(read_random, RANDOM_READS, batch_size), RANDOM_READS * batch_size),
        "single": (partial(read_random, SINGLE_READS, 1), SINGLE_READS),
        "in order": (partial(read_in_order, reader, in_order), in_order),
    }


def measure_codecs(paths: dict[str, Path], batch_size: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return bytes per image, seconds to open and images/s of the same samples in several codecs."""
    runs = {(codec, kind): run for codec, path in paths.items() for kind, run in runs_of(path, batch_size).items()}
    if fixed := next((codec for codec in paths if codec != ZstdCodec.name), None):
        runs[ROWS_ALONE, "random"] = rows_alone(paths[fixed], batch_size), RANDOM_READS * batch_size
    turns = {name: run for name, (run, _) in runs.items() if name[1] != "random"}
    seconds = measure(turns, rounds)  # type: ignore[misc, arg-type]
    rows: dict[str, dict[str, float]] = {}
    for codec, path in paths.items():
        reader = StoreReader(path)
        size = sum(reader.section_bytes[key] for key in ("tokens", "tables", "index"))
        alone = random_seconds(runs[codec, "random"][0], rounds)
        seconds[codec, "random"] = alone["random_ms"] / 1e3 * RANDOM_READS
        speeds = {kind: runs[codec, kind][1] / seconds[codec, kind] for kind in ("random", "single", "in order")}
        rows[codec] = {
            "bytes_per_image": size / len(reader),
            "open_s": seconds[codec, "open"],
            **alone,
            **{f"{kind.replace(' ', '_')}_images_per_s": speed for kind, speed in speeds.items()},
        }
    if fixed:
        rows[ROWS_ALONE] = random_seconds(runs[ROWS_ALONE, "random"][0], rounds)
    return rows


def measure_release(reader: StoreReader, folder: Path) -> dict[str, float]:
    """Return bytes per image of a release file of the first samples, and the speed of decoding it."""
    count = min(len(reader), RELEASE_IMAGES)
    data = write_release(reader.read(slice(0, count)), folder / "release")[0].path
    start = time.perf_counter()
    release = SeitRelease(data, grid=reader.grid, codebook_size=reader.codebook_size)
    release.decode()
    speed = count / (time.perf_counter() - start)
    return {"bytes_per_image": release.num_bytes / count, "in_order_images_per_s": speed}


def benchmark(store: Path | None, args: argparse.Namespace) -> dict[str, Any]:
    """Measure all figures of a store, or of one of random codes."""
    with tempfile.TemporaryDirectory() as name:
        folder, paths = Path(name), {}
        for codec in args.codecs:
            if store is None or args.images:
                like = None if store is None else StoreReader(store)
                paths[codec] = write_made_up(folder / codec, codec, args.images or IMAGENET, like)
            else:
                copy_store(StoreReader(store), folder / codec, codec=codec)
                paths[codec] = folder / codec
        reader = StoreReader(paths[args.codecs[0]])
        rows = measure_codecs(paths, args.batch_size, args.rounds)
        if reader.channels is None and not reader.minimum and reader.codebook_size <= MAX_RELEASE_CODES:
            rows["release file"] = measure_release(reader, folder)
        return {
            "store": "random codes" if store is None else str(store),
            "num_samples": len(reader),
            "num_shards": len(reader.header["shards"]),
            "codebook_size": reader.codebook_size,
            "sample_shape": list(reader.sample_shape),
            "codecs": rows,
        }


def codec_table(measured: dict[str, Any], batch_size: int) -> Table:
    """Measure one store."""
    shape = " x ".join(map(str, measured["sample_shape"]))
    title = f"{measured['store']}: {measured['num_samples']:,} of {shape}, K = {measured['codebook_size']}"
    columns = {
        "bytes per image": ("bytes_per_image", ",.1f"),
        "open, s": ("open_s", ".3f"),
        f"random {batch_size}, ms": ("random_ms", ".2f"),
        "of a core": ("random_core_ms", ".2f"),
        "images/s, random": ("random_images_per_s", ",.0f"),
        "single": ("single_images_per_s", ",.0f"),
        "in order": ("in_order_images_per_s", ",.0f"),
    }
    table = Table("codec", *columns, title=f"{title}, {measured['num_shards']} shards")
    for codec, row in measured["codecs"].items():
        table.add_row(codec, *(format(row[key], spec) if key in row else "-" for key, spec in columns.values()))
    return table


def opening_table(rows: dict[int, dict[str, float]]) -> Table:
    """Return what opening takes by number of shards."""
    columns = ("shards", "images", "header, bytes", "open, s", "labels, s", "MB", "MB with labels")
    table = Table(*columns, title="Opening, of files with holes")
    for shards, row in rows.items():
        sizes = (f"{row[key] / 1e6:,.0f}" for key in ("reader_bytes", "reader_and_labels_bytes"))
        seconds = (f"{row[key]:.2f}" for key in ("open_s", "labels_s"))
        counts = f"{shards:,}", f"{row['images']:,}", f"{row['header_bytes']:,}"
        table.add_row(*counts, *seconds, *sizes)
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables."""
    args = parse_args(argv)
    torch.set_num_threads(1)
    if args.photographs is not None:
        write_photographs(args.photographs)
        return 0
    opening, stores = {}, []
    for num_shards in args.shards or ():
        with tempfile.TemporaryDirectory() as folder:
            opening[num_shards] = measure_opening(write_holes(Path(folder) / "store", num_shards))
    if args.stores or not args.shards:
        stores = [benchmark(store, args) for store in args.stores or [None]]
    tables = [*(codec_table(measured, args.batch_size) for measured in stores), opening_table(opening)]
    show(tables, {"stores": stores, "opening": opening}, f"{args.rounds} rounds", args.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
