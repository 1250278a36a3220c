"""Bytes an image and images/s of the store's codecs, beside general compressors and an entropy coding library.

    python tools/analysis_tools/benchmark_codecs.py STORE [STORE ...] [--json FILE] [--markdown]
    python tools/analysis_tools/benchmark_codecs.py --photographs FOLDER     write a store to measure, see below

Bytes are those of all rows, of tables or dictionary, and, where rows vary in length, of 8 bytes for where each starts;
labels and checksums are the same for all and left out. The bound of order 0 is, with channels, the mean over them.
Every candidate may fit its tables or dictionary to the store itself, as a store does. The candidates take turns in one
process, one thread; medians. The store's codecs are read from files, the others decode from memory.

`--photographs` makes codes from the two photographs of scikit-learn (427 x 640): k-means of 8 x 8 patches, K = 391,
fitted to the upper 156 rows; images of 256 x 256 from the rows below, one half of them from the left side of both
photographs, the other half from the right. The images overlap, so the store shows how codecs compare, not what another
data set takes.
"""

import argparse
import json
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from seitpp.io.command_line import positive_number, run_tool
from seitpp.progress import progress_bar
from seitpp.storage import (
    CODECS,
    StoreReader,
    StoreWriter,
    conditional_bits,
    copy_store,
    decode_release_bytes,
    encode_release_bytes,
)
from seitpp.storage.release_bytes import MAX_RELEASE_CODES
from seitpp.storage.stats import order_zero_bits

BATCH = 256
INDEX_BYTES = 8  # where a row of variable length starts
DICTIONARY_BYTES = (2**12, 2**14, 2**16)

Decode = Callable[[np.ndarray], np.ndarray]


@dataclass
class Row:
    """What was measured of one candidate; None: not installed, or the codes do not fit."""

    codec: str
    bytes_an_image: float | None = None
    share_of_bitpacked: float | None = None
    batch_images_per_s: float | None = None
    single_images_per_s: float | None = None
    all_images_per_s: float | None = None
    note: str = ""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", type=Path, metavar="STORE", help="stores to measure")
    parser.add_argument("--photographs", type=Path, metavar="FOLDER", help="write the store of photographs there")
    parser.add_argument(
        "--rounds", type=positive_number, default=7, help="rounds of measuring; the median counts (default: 7)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    args = parser.parse_args(argv)
    if not args.stores and args.photographs is None:
        parser.error("name a store, or --photographs FOLDER to make one")
    return args


def write_photographs(folder: Path) -> None:
    """The store that the module docstring describes."""
    import torch
    from sklearn.datasets import load_sample_images

    from seitpp.tokenizers import PatchKMeans

    photographs = [torch.from_numpy(image.copy()).permute(2, 0, 1) / 255 for image in load_sample_images().images]
    upper = [
        image[:, y : y + 152, x : x + 632] for image in photographs for y in range(0, 5, 2) for x in range(0, 8, 2)
    ]
    with progress_bar("fitting k-means") as progress:
        fitted = PatchKMeans((152, 632), 8).fit(torch.stack(upper), codebook_size=391, max_patches=2**15)
        progress(1, 1)
    tokenizer = PatchKMeans(256, 8, codebook=fitted.codebook)
    options: dict[str, Any] = {"tokenizer": tokenizer.describe(), "codebook": tokenizer.codebook.numpy()}
    with StoreWriter(folder, codebook_size=391, grid=(32, 32), **options) as writer:
        for side in (0, 320):
            for image in photographs:
                places = [(y, x) for y in range(156, 172) for x in range(side, side + 65, 5)]
                lower = torch.stack([image[:, y : y + 256, x : x + 256] for y, x in places])
                writer.append(tokenizer.encode(lower).numpy())
    print(f"{folder}: {writer.num_samples} images of 32 x 32 codes")


def store_candidates(reader: StoreReader, folder: Path) -> dict[str, tuple[float, Decode]]:
    """Bytes an image and decoding of each codec of the store."""
    found = {}
    for codec in ("raw", "bitpacked", *sorted(CODECS.keys() - {"raw", "bitpacked"})):
        copy_store(reader, folder / codec, codec=codec)
        copy = StoreReader(folder / codec)
        size = sum(copy.section_bytes[key] for key in ("tokens", "tables", "index")) / len(copy)
        found[codec] = (size, copy.read)
    return found


def release_candidate(codes: np.ndarray) -> tuple[float, Decode]:
    """The escape-byte format of the release."""
    content, offsets = encode_release_bytes(codes)

    def decode(places: np.ndarray) -> np.ndarray:
        parts = [content[offsets[place] : offsets[place + 1]] for place in places]
        starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        return decode_release_bytes(b"".join(parts), starts)[0].reshape(len(places), -1)

    return len(content) / len(codes) + INDEX_BYTES, decode


def bytes_candidate(
    codes: np.ndarray, compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes], shared_bytes: int = 0
) -> tuple[float, Decode]:
    """A general compressor on the bytes of each image; `shared_bytes` are needed once for all."""
    rows = [compress(row.tobytes()) for row in codes]

    def decode(places: np.ndarray) -> np.ndarray:
        joined = b"".join([decompress(rows[place]) for place in places])
        return np.frombuffer(joined, codes.dtype).reshape(len(places), -1)

    return (sum(map(len, rows)) + shared_bytes) / len(codes) + INDEX_BYTES, decode


def zstd_candidate(codes: np.ndarray) -> tuple[float, Decode]:
    """Zstandard with the dictionary that gives the fewest bytes, its own counted."""
    import zstandard

    found = []
    for size in DICTIONARY_BYTES:
        dictionary = zstandard.train_dictionary(size, [row.tobytes() for row in codes])
        compressor = zstandard.ZstdCompressor(level=19, dict_data=dictionary)
        decompressor = zstandard.ZstdDecompressor(dict_data=dictionary)
        found.append(bytes_candidate(codes, compressor.compress, decompressor.decompress, len(dictionary.as_bytes())))
    return min(found, key=lambda candidate: candidate[0])


def constriction_candidate(values: np.ndarray, codebook_size: int, minimum: int) -> tuple[float, Decode]:
    """Order-0 ANS of the library `constriction`, each image a stream; two bytes of tables for each code."""
    import constriction

    codes = values.astype(np.int32) - minimum
    counts = np.bincount(codes.ravel(), minlength=codebook_size).astype(np.float32)
    model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=False)
    rows = []
    for row in codes:
        coder = constriction.stream.stack.AnsCoder()
        coder.encode_reverse(row, model)
        rows.append(coder.get_compressed())

    def decode(places: np.ndarray) -> np.ndarray:
        coders = [constriction.stream.stack.AnsCoder(rows[place]) for place in places]
        return np.stack([coder.decode(model, codes.shape[1]) for coder in coders]) + minimum

    return (4 * sum(map(len, rows)) + 2 * codebook_size) / len(codes) + INDEX_BYTES, decode


def candidates(reader: StoreReader, values: np.ndarray, folder: Path) -> dict[str, tuple[float, Decode] | str]:
    """Every candidate, or why there is none."""
    found: dict[str, tuple[float, Decode] | str] = {**store_candidates(reader, folder)}
    if reader.channels is not None or reader.minimum:
        found["release format"] = "holds plain codes only"
    elif reader.codebook_size > MAX_RELEASE_CODES:
        found["release format"] = f"holds at most {MAX_RELEASE_CODES} codes"
    else:
        found["release format"] = release_candidate(values)
    found["zlib"] = bytes_candidate(values, lambda row: zlib.compress(row, 9), zlib.decompress)
    libraries: dict[str, tuple[str, Callable[[], tuple[float, Decode]]]] = {
        "zstd, dictionary": ("zstandard", lambda: zstd_candidate(values)),
        "constriction, order 0": (
            "constriction",
            lambda: constriction_candidate(values, reader.codebook_size, reader.minimum),
        ),
    }
    for name, (package, make) in libraries.items():
        try:
            found[name] = make()
        except ImportError:
            found[name] = f"not installed: pip install {package}"
    return found


def measure(found: dict[str, tuple[float, Decode] | str], values: np.ndarray, rounds: int) -> list[Row]:
    """Sizes and median speeds; every decoded image is compared with its values (N, T) once."""
    decoders = {name: value[1] for name, value in found.items() if not isinstance(value, str)}
    sizes = (BATCH, 1, len(values))
    seconds: dict[tuple[str, int], list[float]] = {(name, size): [] for name in decoders for size in sizes}
    rng = np.random.default_rng(0)
    for name, decode in decoders.items():
        if not np.array_equal(decode(np.arange(len(values))).reshape(values.shape), values):
            raise RuntimeError(f"{name} does not give back the values")
    with progress_bar("measuring") as progress:
        for done in range(rounds):
            for name, decode in decoders.items():
                for size in sizes:
                    places = np.arange(size) if size == len(values) else rng.integers(0, len(values), size)
                    start = time.perf_counter()
                    decode(places)
                    seconds[name, size].append(time.perf_counter() - start)
            progress(done + 1, rounds)
    bitpacked = found["bitpacked"][0]
    rows = []
    for name, value in found.items():
        if isinstance(value, str):
            rows.append(Row(name, note=value))
            continue
        speeds = [size / statistics.median(seconds[name, size]) for size in sizes]
        rows.append(Row(name, value[0], value[0] / bitpacked, *speeds))
    return rows


def benchmark(path: Path, rounds: int) -> dict[str, Any]:
    """All figures of one store."""
    reader = StoreReader(path)
    values = reader.read_all()
    codes = (values.astype(np.int64) - reader.minimum).reshape(len(values), *reader.grid, reader.channels or 1)
    half, bytes_a_bit = len(codes) // 2, codes[0].size / 8
    held_out = [
        conditional_bits(codes[:half], codes[half:], reader.codebook_size, with_contexts=known)
        for known in (False, True)
    ]
    order_0 = [order_zero_bits(codes[..., channel], reader.codebook_size) for channel in range(codes.shape[3])]
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(candidates(reader, flat, Path(folder)), flat, rounds)
    return {
        "store": str(path),
        "num_samples": len(reader),
        "codebook_size": reader.codebook_size,
        "sample_shape": list(reader.sample_shape),
        "order_0_bound_bytes": float(np.mean(order_0)) * bytes_a_bit,
        **{
            name: None if bits is None else bits * bytes_a_bit
            for name, bits in zip(("held_out_order_0_bytes", "held_out_conditional_bytes"), held_out, strict=True)
        },
        "rows": [asdict(row) for row in rows],
    }


def cells(row: dict[str, Any]) -> list[str]:
    """One row as text."""
    if row["bytes_an_image"] is None:
        return [row["codec"], row["note"], "", "", "", ""]
    return [
        row["codec"],
        f"{row['bytes_an_image']:,.1f}",
        f"{row['share_of_bitpacked']:.3f}",
        f"{row['batch_images_per_s']:,.0f}",
        f"{row['single_images_per_s']:,.0f}",
        f"{row['all_images_per_s']:,.0f}",
    ]


def show(facts: dict[str, Any], markdown: bool) -> None:
    """Print the figures of one store."""
    names = ["codec", "bytes an image", "of bitpacked", f"images/s, {BATCH} at a time", "one by one", "all at once"]
    held_out = [facts[key] for key in ("held_out_order_0_bytes", "held_out_conditional_bytes")]
    shown = ["-" if value is None else f"{value:,.1f}" for value in held_out]
    summary = (
        f"{facts['store']}: {facts['num_samples']} images of {' x '.join(map(str, facts['sample_shape']))} codes, "
        f"K = {facts['codebook_size']}. Bytes an image: order-0 bound {facts['order_0_bound_bytes']:,.1f}; of the "
        f"second half, with statistics of the first, {shown[0]} by order 0 and {shown[1]} given left and upper "
        "neighbour."
    )
    if markdown:
        lines = [names, ["---"] * len(names), *map(cells, facts["rows"])]
        print(f"\n{summary}\n", *(f"| {' | '.join(line)} |" for line in lines), sep="\n")
        return
    table = Table(*names)
    for row in facts["rows"]:
        table.add_row(*cells(row))
    console = Console(width=110)
    console.print(summary)
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables."""
    args = parse_args(argv)
    if args.photographs is not None:
        write_photographs(args.photographs)
    figures = []
    for path in args.stores:
        figures.append(benchmark(path, args.rounds))
        show(figures[-1], args.markdown)
    if args.json is not None:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
