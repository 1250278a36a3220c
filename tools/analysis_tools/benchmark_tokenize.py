"""Images/s of encoding: whole batches against a plain loop over single images of the same network, and bfloat16.

    python tools/analysis_tools/benchmark_tokenize.py configs/tokenizers/vitvqgan_small.py [--images 32] [--out FILE]
    ... configs/tokenizers/vitvqgan_base.py --device cuda --images 512 --batch-size 64

Candidates take turns in one process; the table shows medians, and ratios of medians. Images are crops of the two
photographs that scikit-learn brings. A tokenizer whose checkpoint is not there gets random weights, which cost the same
time; its share of changed codes is then that of a random network.
"""

import argparse
import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.table import Table
from sklearn.datasets import load_sample_images
from torch import Tensor

from seitpp.benchmarking.photographs import write_photographs
from seitpp.benchmarking.timing import add_out_argument, measure, show
from seitpp.images.decoding import decode_image, pixels_of
from seitpp.images.resizing import fit_image
from seitpp.ingest.loading import Fitting, load_batches
from seitpp.ingest.sources import ImageSource, open_image_source
from seitpp.io.command_line import counted_number, positive_number, run_tool
from seitpp.io.config_options import add_options_argument
from seitpp.io.devices import check_device
from seitpp.tokenizers import Tokenizer
from seitpp.tokenizers.encoding import encode_pixels
from seitpp.tokenizers.from_config import build_tokenizer, read_tokenizer

PHOTOGRAPH = (320, 320)  # pixels, to be scaled to what a tokenizer takes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a file of configs/tokenizers/, or a token store")
    parser.add_argument("--images", type=positive_number, default=32, help="images per round")
    parser.add_argument("--batch-size", type=positive_number, default=16, help="images encoded at once")
    parser.add_argument(
        "--workers", type=counted_number, default=2, help="decoding processes of the batched run from files"
    )
    parser.add_argument("--rounds", type=positive_number, default=5, help="rounds; the median counts")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    add_options_argument(parser)
    add_out_argument(parser)
    return parser.parse_args(argv)


def build(args: argparse.Namespace) -> Tokenizer:
    """Return the tokenizer; with random weights where the checkpoint of its config is not there."""
    settings = read_tokenizer(args.tokenizer, args.cfg_options, may_fit=True)
    if isinstance(settings, str):
        return build_tokenizer(settings).to(args.device).eval()
    fit = settings.pop("fit", None)
    if settings.get("checkpoint") and not Path(settings["checkpoint"]).is_file():
        print(f"{settings['checkpoint']} is not there: random weights")
        settings["checkpoint"] = None
    torch.manual_seed(0)
    tokenizer = build_tokenizer(settings)
    if fit is not None:
        photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1)[None] for photo in load_sample_images().images]
        options = {key: value for key, value in fit.items() if key != "num_images"}
        tokenizer.fit(torch.cat([tokenizer.resize(tokenizer.from_bytes(photo)) for photo in photos]), **options)
    return tokenizer.to(args.device).eval()


def candidates(tokenizer: Tokenizer, source: ImageSource, args: argparse.Namespace) -> dict[str, Callable[[], Tensor]]:
    """Return what is timed, by name; each returns the codes of all images."""
    fitting = Fitting.of(tokenizer)
    numbers = range(len(source))
    batch_size = args.batch_size
    batches = [numbers[start : start + args.batch_size] for start in range(0, len(source), batch_size)]

    def pixels_from_file(number: int) -> Tensor:
        image = decode_image(source.read(number), tokenizer.in_channels)
        image = fit_image(image, fitting.image_size, fitting.resize_mode, rule=fitting.resize)
        return torch.from_numpy(pixels_of(image))[None]

    def encode(pixels: Tensor) -> Tensor:
        return tokenizer.encode(tokenizer.from_bytes(pixels.to(args.device))).cpu()

    pixels = torch.cat([pixels_from_file(number) for number in numbers])
    return {
        "network, single images": lambda: torch.cat([encode(image[None]) for image in pixels]),
        "network, batches": lambda: torch.cat(
            [encode_pixels(tokenizer, batch, args.device, batch_size).cpu() for batch in pixels.split(batch_size)]
        ),
        "from files, single images": lambda: torch.cat([encode(pixels_from_file(number)) for number in numbers]),
        "from files, batches and workers": lambda: torch.cat(
            [
                encode_pixels(tokenizer, batch.pixels, args.device, batch_size).cpu()
                for batch in load_batches(source, fitting, batches, args.workers)
            ]
        ),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    args = parse_args(argv)
    check_device(args.device)
    tokenizer = build(args)
    has_precision = hasattr(tokenizer, "precision")
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder), args.images, PHOTOGRAPH)
        source = open_image_source(folder)
        runs = candidates(tokenizer, source, args)
        if has_precision:
            reduced = copy.deepcopy(tokenizer)
            reduced.precision = "bfloat16"
            runs["network, batches, bfloat16"] = candidates(reduced, source, args)["network, batches"]
        codes = {name: run() for name, run in runs.items()}  # which warms up
        seconds = measure(runs, args.rounds, args.device, warmup=0)
    table = Table("candidate", "images/s", "ratio", "to", "codes that differ from single images")
    figures = {}
    for name, value in seconds.items():
        base = next(other for other in seconds if other.partition(",")[0] == name.partition(",")[0])
        differ = float((codes[name] != codes["network, single images"]).float().mean())
        figures[name] = {"images_per_s": args.images / value, "ratio": seconds[base] / value, "codes_differ": differ}
        table.add_row(name, f"{args.images / value:.2f}", f"{seconds[base] / value:.2f}", base, f"{differ:.4%}")
    settings = f"{args.tokenizer}, batches of {args.batch_size}, {args.images} images, median of {args.rounds} rounds"
    show([table], {"candidates": figures}, settings, args.out, args.device)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
