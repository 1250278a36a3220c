"""Convert published checkpoints to ours, or ours to the layout they were published in.

python tools/convert_checkpoint.py mtm mtm_vitb.pth work_dirs/mtm_vitb.pth
python tools/convert_checkpoint.py mtm-classifier work_dirs/ours/epoch_100.pth release.pth --to-release
python tools/convert_checkpoint.py tokenadapt tokenadapt.pth checkpoints/tokenadapt.pth
python tools/convert_checkpoint.py vqgan_f16_1024 last.ckpt checkpoints/vqgan_f16_1024.pth
python tools/convert_checkpoint.py seit_vitvqgan tokenizer.ckpt checkpoints/seit_vitvqgan.pth --codebook codebook.ckpt
python tools/convert_checkpoint.py codebook last.ckpt codebook.npy

Layouts are the SeiT++ release's models (`tokenadapt` is also taken out of a file of one of the others, and with
--to-release out of a checkpoint of its training), the tokenizers of docs/tokenizers.md, and `codebook`: the vectors
alone, from a tensor, a token store or any of those files. Nothing in a file is run: of a pickled module or of a
training checkpoint, only the tensors are taken.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from seitpp.converters import (
    LAYOUTS,
    PRESETS,
    convert_tokenizer,
    export_tokenizer,
    from_release,
    grid_sides,
    read_codebook,
    read_published,
    readable,
    to_release,
)
from seitpp.io.atomic_write import check_other_file
from seitpp.io.checkpoint import check_finite, save_torch, standalone
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.io.text import shorten
from seitpp.tokenizers.codebook import save_codebook

_CODEBOOK = "codebook"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = [*sorted(LAYOUTS), *sorted(PRESETS), _CODEBOOK]
    parser.add_argument("layout", choices=choices, metavar="LAYOUT", help=f"what SRC is: {', '.join(choices)}")
    parser.add_argument("src", type=Path, metavar="SRC", help="checkpoint to read; nothing in it is run")
    parser.add_argument("dst", type=Path, metavar="DST", help="checkpoint to write; a tokenizer's may be .safetensors")
    parser.add_argument("--to-release", action="store_true", help="from ours to the published layout")
    parser.add_argument("--codebook", type=Path, metavar="FILE", help="(tokenizers) use this codebook, not SRC's")
    parser.add_argument(
        "--key", metavar="NAME", help="entry of SRC that holds the weights, such as ema (default: state_dict or model)"
    )
    parser.add_argument("--no-probe", action="store_true", help="(tokenizers) do not check the range of pixel values")
    parser.add_argument(
        "--grids", type=int, nargs=2, metavar="SIDE", help="(tokenadapt --to-release) tokens before and after, 32 28"
    )
    args = parser.parse_args(argv)
    if args.grids and min(args.grids) < 1:
        parser.error(f"--grids must be positive numbers of tokens, got {args.grids}")
    if args.grids and not (args.layout == "tokenadapt" and args.to_release):
        parser.error("--grids is for tokenadapt with --to-release; other files say what grids they are for")
    if args.layout not in PRESETS and (args.codebook or args.no_probe):
        parser.error(f"--codebook and --no-probe are for tokenizers, not for {args.layout}")
    if args.to_release and (args.codebook or args.no_probe or args.key or args.layout == _CODEBOOK):
        parser.error("--to-release goes with neither --codebook nor --no-probe nor --key nor the layout codebook")
    return args


def convert_model(args: argparse.Namespace) -> None:
    """Convert a model of the SeiT++ release, in either direction."""
    weights = readable(read_published(args.src, args.key), args.src)
    check_finite(weights, args.src)
    if args.to_release:
        renamed, dropped = to_release(weights, args.layout, **({"sides": args.grids} if args.grids else {}))
        key = LAYOUTS[args.layout].weights_key
        content = standalone(renamed) if key is None else {key: standalone(renamed)}
    else:
        renamed, dropped = from_release(weights, args.layout)
        content = {"meta": {"converted_from": args.layout}, "state_dict": standalone(renamed)}
    save_torch(args.dst, content)
    print_result(args.dst, renamed, dropped)
    if not args.to_release and (sides := grid_sides(weights, args.layout)):
        print("made for grids of " + " and ".join(f"{side} x {side}" for side in sides) + " tokens (grid, out_grid)")


def import_tokenizer(args: argparse.Namespace) -> None:
    """Convert a published tokenizer to ours."""
    result = convert_tokenizer(args.layout, args.src, args.dst, args.codebook, probe=not args.no_probe, key=args.key)
    converted = result.converted
    if result.other_entries:
        others = ", ".join(result.other_entries)
        print(f"weights under {result.entry} taken; the file has others under {others}, which --key NAME takes")
    print_result(args.dst, converted.weights, converted.dropped)
    print(f"{len(converted.weights)} keys loaded, 0 missing, {len(converted.dropped)} ignored")
    if not converted.has_decoder:
        print("no decoder in the file: it can encode, not decode; the range of pixel values was not checked")
    elif result.probe is None:
        print("the range of pixel values was not checked")
    else:
        print(f"reconstructs a ramp with {result.probe}")
    if result.subset_file is not None:
        print(f"the file lists {len(converted.used_codes)} codes in use: {result.subset_file}, a code_subset")


def restore_names(args: argparse.Namespace) -> None:
    """Convert our tokenizer to its published names."""
    renamed = export_tokenizer(args.layout, args.src, args.dst)
    print_result(args.dst, renamed, [])
    if not any(name.startswith("decoder.") for name in renamed):
        print(f"no decoder in {args.src}: the file has none either, it can encode, not decode")


def convert_codebook(args: argparse.Namespace) -> None:
    """Write the codebook of a file to a file of its own."""
    codebook = read_codebook(args.src, args.key)
    save_codebook(args.dst, codebook)
    print(f"{args.dst}: K x D = {' x '.join(map(str, codebook.shape))}")


def print_result(path: Path, weights: dict[str, torch.Tensor], dropped: Sequence[str]) -> None:
    """Print one line on what was written and one on what was not."""
    print(f"{path}: {len(weights)} tensors, {sum(value.numel() for value in weights.values()):,} values")
    if dropped:
        print(f"dropped, as they have no counterpart: {shorten(dropped, 20)}")


def convert(args: argparse.Namespace) -> None:
    """Convert one file, as its layout asks for."""
    if args.layout == _CODEBOOK:
        convert_codebook(args)
    elif args.layout in LAYOUTS:
        convert_model(args)
    elif args.to_release:
        restore_names(args)
    else:
        import_tokenizer(args)


def main(argv: Sequence[str] | None = None) -> None:
    """Convert one file; unknown and missing keys are errors, keys dropped on purpose are printed."""
    args = parse_args(argv)
    try:
        check_other_file(args.src, args.dst)
        with progress_bar(f"converting {args.src}"):
            convert(args)
    except ValueError as error:
        message = str(error)
        raise ValueError(message if str(args.src) in message else f"{args.src}: {message}") from error


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
