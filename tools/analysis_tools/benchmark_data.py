"""Images/s of the data path: tokens, ours and naive, against a pipeline of JPEG files on the CPU.

    python tools/analysis_tools/benchmark_data.py [--store STORE] [--device cuda] [--out FILE]

*Ours*: batched fetch, from disk or from memory (`dataset.device`), Token-RRC, nearest code. *Naive* is what the method
says step by step, one sample at a time: decode the code bytes in a loop, a one-hot map over the codebook, bicubic crop
of its K channels, product with the codebook, distance to every code. *JPEG*: decode photographs of 375 x 500 pixels,
random resized crop to 224 x 224, flip, normalise; by Pillow and torchvision as is common, and by the fastest decoders
that are installed with OpenCV.

Candidates take turns in one process; the table shows medians, and ratios of medians. Without `--store` a store is made
up in a temporary folder, of any size of codebook and grid; above 510 codes there are no bytes of the release to decode
in a loop.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor

from seitpp.augment.crops import TokenRRC, sample_crop_boxes
from seitpp.benchmarking.photographs import write_photographs
from seitpp.benchmarking.synthetic import make_store
from seitpp.benchmarking.timing import add_out_argument, measure, show
from seitpp.datasets import ResidentTokens
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.devices import check_device
from seitpp.storage import StoreReader, encode_release_bytes
from seitpp.storage.release.escapes import MAX_RELEASE_CODES
from seitpp.tokenizers.codebook import nearest_codes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="token store to fetch from, which carries its codebook")
    parser.add_argument("--codebook-size", type=positive_number, default=391, help="codes K of a store that is made up")
    parser.add_argument("--grid", type=positive_number, default=32, help="tokens of a side of a store that is made up")
    parser.add_argument("--batch-size", type=positive_number, default=256, help="images per batch of ours")
    parser.add_argument(
        "--naive-images", type=positive_number, default=16, help="images per round of the naive formulation"
    )
    parser.add_argument("--rounds", type=positive_number, default=7, help="rounds; the median counts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, where tokens are cropped")
    parser.add_argument("--crop", type=positive_number, help="tokens per side of a crop; by default 7/8 of the grid")
    parser.add_argument("--photographs", type=positive_number, default=32, help="JPEG files per round")
    add_out_argument(parser)
    return parser.parse_args(argv)


def decode_bytes_in_a_loop(content: bytes) -> list[int]:
    """Return codes of one image from the release's bytes, one byte at a time."""
    codes, escaped = [], False
    for byte in content:
        if byte == 255:
            escaped = True
        else:
            codes.append(byte + 255 * escaped)
            escaped = False
    return codes


def naive_crop(codes: Tensor, codebook: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return embeddings (B, D, size, size) through one-hot maps over the codebook, one sample at a time."""
    crops = []
    for sample, (top, left, height, width) in zip(codes, boxes.tolist(), strict=True):
        one_hot = F.one_hot(sample, len(codebook)).permute(2, 0, 1).float()[None]
        crop = one_hot[:, :, top : top + height, left : left + width]
        crops.append(F.interpolate(crop, size=(size, size), mode="bicubic", align_corners=False))
    return torch.einsum("bkhw,kd->bdhw", torch.cat(crops), codebook)


def naive_codes(embeddings: Tensor, codebook: Tensor) -> Tensor:
    """Return the nearest code by distances to all of the normalised codebook."""
    vectors = F.normalize(embeddings.permute(0, 2, 3, 1).flatten(0, 2), dim=-1)
    table = F.normalize(codebook, dim=-1)
    distances = vectors.square().sum(1, keepdim=True) + table.square().sum(1) - 2 * vectors @ table.T
    return distances.argmin(dim=1)


def build_candidates(reader: StoreReader, args: argparse.Namespace) -> dict[str, tuple[int, Callable[[], object]]]:
    """Name to images a call and the call."""
    codebook = torch.from_numpy(reader.codebook).to(args.device)
    rng = np.random.default_rng(0)
    side = args.crop or reader.grid[0] * 7 // 8
    crop = TokenRRC(side, scale=(0.2, 1.0))
    of_release = reader.codebook_size <= MAX_RELEASE_CODES
    resident = ResidentTokens(reader, np.arange(len(reader)), None, args.device)

    def fetch() -> Tensor:
        return torch.from_numpy(reader.read(rng.integers(0, len(reader), args.batch_size))).to(args.device)

    fixed = fetch()
    few = fixed[: args.naive_images].long()
    content, starts = encode_release_bytes(few.cpu().numpy()) if of_release else (b"", [])

    def fetch_resident() -> Tensor:
        return resident.fetch(rng.integers(0, len(reader), args.batch_size))[0]

    def ours_to_embeddings(codes: Tensor) -> Tensor:
        return crop.transform({"inputs": codes, "codebook": codebook})["inputs"]

    def ours_to_codes(codes: Tensor) -> Tensor:
        return nearest_codes(ours_to_embeddings(codes).permute(0, 2, 3, 1), codebook)

    def naive_fetch() -> Tensor:
        images = [decode_bytes_in_a_loop(content[a:b]) for a, b in itertools.pairwise(starts)]
        return torch.tensor(images, device=args.device).view(-1, *reader.grid)

    def naive_to_embeddings(codes: Tensor) -> Tensor:
        boxes = sample_crop_boxes(len(codes), reader.grid, (0.2, 1.0))
        return naive_crop(codes, codebook, boxes, side)

    def naive_to_codes(codes: Tensor) -> Tensor:
        return naive_codes(naive_to_embeddings(codes), codebook)

    candidates: dict[str, tuple[int, Callable[[], object]]] = {
        "ours: crop, to embeddings": (args.batch_size, lambda: ours_to_embeddings(fixed)),
        "ours: crop, to codes": (args.batch_size, lambda: ours_to_codes(fixed)),
        "ours: fetch alone": (args.batch_size, fetch),
        f"ours: fetch alone, resident ({args.device})": (args.batch_size, fetch_resident),
        "ours: fetch and crop, to embeddings": (args.batch_size, lambda: ours_to_embeddings(fetch())),
        "ours: fetch and crop, to codes": (args.batch_size, lambda: ours_to_codes(fetch())),
        "naive: crop, to embeddings": (args.naive_images, lambda: naive_to_embeddings(few)),
        "naive: crop, to codes": (args.naive_images, lambda: naive_to_codes(few)),
        "naive: fetch and crop, to embeddings": (args.naive_images, lambda: naive_to_embeddings(naive_fetch())),
        "naive: fetch and crop, to codes": (args.naive_images, lambda: naive_to_codes(naive_fetch())),
    }
    return {name: one for name, one in candidates.items() if of_release or not name.startswith("naive: fetch")}


def jpeg_candidates(paths: Sequence[Path]) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return pipelines from JPEG files to batches of normalised pixels, (N, 3, 224, 224)."""
    import cv2
    from PIL import Image
    from torchvision.transforms import v2

    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    crop = v2.RandomResizedCrop(224, antialias=True)
    common = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
    normalise = v2.Normalize(mean, std)
    scale, shift = 1 / (255 * np.float32(std)), np.float32(mean) / np.float32(std)

    def by_pillow(path: Path) -> Tensor:
        with Image.open(path) as image:
            return normalise(common(image.convert("RGB")))

    def by_opencv(decode: Callable[[bytes], np.ndarray]) -> Callable[[Path], Tensor]:
        def load(path: Path) -> Tensor:
            pixels = decode(path.read_bytes())
            top, left, height, width = crop.make_params([torch.from_numpy(pixels).permute(2, 0, 1)]).values()
            pixels = cv2.resize(pixels[top : top + height, left : left + width], (224, 224))
            pixels = pixels[:, ::-1] if np.random.random() < 0.5 else pixels
            return torch.from_numpy(pixels * scale - shift).permute(2, 0, 1)

        return load

    def opencv_decoder(content: bytes) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)

    loaders = {"Pillow and torchvision": by_pillow, "OpenCV": by_opencv(opencv_decoder)}
    decoders: dict[str, Callable[[bytes], object]] = {"OpenCV": opencv_decoder}
    try:
        import simplejpeg
    except ImportError:
        print("simplejpeg, the fastest decoder known, is not installed: pip install simplejpeg adds its rows")
    else:
        decoders["simplejpeg"] = lambda content: simplejpeg.decode_jpeg(content, fastdct=True, fastupsample=True)
        loaders["simplejpeg and OpenCV"] = by_opencv(decoders["simplejpeg"])
    whole = {f"JPEG: {name}": partial(_batch, loader, paths) for name, loader in loaders.items()}
    alone = {f"JPEG: decode alone, {name}": partial(_decoded, decode, paths) for name, decode in decoders.items()}
    return {name: (len(paths), call) for name, call in {**whole, **alone}.items()}


def _batch(load: Callable[[Path], Tensor], paths: Sequence[Path]) -> Tensor:
    return torch.stack([load(path) for path in paths])


def _decoded(decode: Callable[[bytes], object], paths: Sequence[Path]) -> None:
    for path in paths:
        decode(path.read_bytes())


def speeds_of(
    candidates: dict[str, tuple[int, Callable[[], object]]], threads: int, args: argparse.Namespace
) -> dict[str, float]:
    """Return median images/s of each candidate, which take turns."""
    torch.set_num_threads(threads)
    seconds = measure({name: call for name, (_, call) in candidates.items()}, args.rounds, args.device)
    return {name: images / seconds[name] for name, (images, _) in candidates.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure with one and two threads and print the table."""
    args = parse_args(argv)
    check_device(args.device)
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"num_samples": 4096, "grid": (args.grid, args.grid), "codebook_size": args.codebook_size}
        reader = StoreReader(args.store or make_store(Path(folder, "store"), **sizes))
        paths = write_photographs(Path(folder, "photographs"), args.photographs)
        candidates = {**build_candidates(reader, args), **jpeg_candidates(paths)}
        speeds = {threads: speeds_of(candidates, threads, args) for threads in (1, 2)}
        jpeg_bytes = sum(path.stat().st_size for path in paths) / len(paths)
    table = Table("images/s", "1 thread", "2 threads", "1 thread, against naive", "against JPEG (Pillow)")
    for name, speed in speeds[1].items():
        bases = [name.replace("ours", "naive")] if name.startswith("ours") else []
        if name.startswith("ours: fetch and crop"):
            bases.append("JPEG: Pillow and torchvision")
        ratios = [f"{speed / speeds[1][base]:.1f} x" if base in speeds[1] else "" for base in bases]
        table.add_row(name, f"{speed:,.0f}", f"{speeds[2][name]:,.0f}", *ratios)
    settings = (
        f"batches of {args.batch_size} from {args.store or 'a store that is made up'}, K = {reader.codebook_size}, "
        f"{reader.grid[0]} x {reader.grid[1]} tokens; {len(paths)} JPEG files of {jpeg_bytes / 1e3:.0f} kB on average; "
        f"median of {args.rounds} rounds"
    )
    show([table], {"images_per_s": speeds, "jpeg_bytes": jpeg_bytes}, settings, args.out, args.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
