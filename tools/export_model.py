"""Export a trained classifier or segmentor to one file that runs without this package: ONNX, or torch.export's .pt2.

python tools/export_model.py CONFIG CHECKPOINT OUT --tokenizer STORE
python tools/export_model.py CONFIG CHECKPOINT OUT --input tokens --format both

With a tokenizer (a file of configs/tokenizers/, or a token store that it made) a file takes images, (B, C, H, W) floats
in [0, 1] that have the tokenizer's size, and gives logits and tokens; without one it takes tokens. A segmentor's logits
are maps, see --logits-size. Each file is run and compared with the model, and kept only if it computes the same.
OUT.json tells sizes, class names and the rest, as does the metadata of the file. ONNX needs
`pip install onnx onnxscript onnxruntime`. Needs no GPU.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from seitpp.export.export import Parity, export_model
from seitpp.export.formats import SUFFIXES
from seitpp.io.atomic_write import check_other_file
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; options that contradict each other end the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file, or the name of one that comes with seitpp")
    parser.add_argument("checkpoint", help="checkpoint")
    parser.add_argument("out", type=Path, help="path of the file; its suffix is added, or says the format")
    parser.add_argument(
        "--tokenizer", metavar="CONFIG_OR_STORE", help="a file of configs/tokenizers/, or a token store that it made"
    )
    parser.add_argument(
        "--format", choices=[*SUFFIXES, "both"], help="what to write (default: onnx, or what OUT's suffix says)"
    )
    parser.add_argument(
        "--input", choices=["images", "tokens"], help="what the file takes (default: images if a tokenizer is known)"
    )
    parser.add_argument(
        "--batch-size", type=_batch_size, default="dynamic", metavar="N", help="a number, or dynamic (default) for any"
    )
    parser.add_argument(
        "--logits-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="(segmentation) size of the logits, 0 0: the head's own (default: that of images; for tokens the head's)",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference of a logit from the model's (default: 1e-4)"
    )
    parser.add_argument(
        "--any-grid", action="store_true", help="take another grid of tokens than the model was trained on"
    )
    args = parser.parse_args(argv)
    of_suffix = {suffix: name for name, suffix in SUFFIXES.items()}.get(args.out.suffix)
    if of_suffix is not None:
        if args.format not in (None, of_suffix):
            parser.error(f"OUT ends in {args.out.suffix} and --format is {args.format}; leave out the suffix")
        args.format, args.out = of_suffix, args.out.with_suffix("")
    args.format = args.format or "onnx"
    return args


def _batch_size(text: str) -> int | None:
    if text == "dynamic":
        return None
    if not text.isdigit() or text.strip("0") == "":
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number, and not dynamic")
    return int(text)


def report(parity: Parity) -> str:
    """Return one line on a file."""
    batches = ", ".join(map(str, parity.batch_sizes))
    tokens = "" if parity.token_agreement is None else f", {parity.token_agreement:.2%} of tokens the same"
    return (
        f"{parity.path}: {parity.path.stat().st_size:,} bytes; on {parity.num_samples} samples in batches of {batches} "
        f"logits differ by at most {parity.logits_difference:.2g}{tokens}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files, run each, and say how far it is from the model."""
    args = parse_args(argv)
    forbid_pickled_code()
    for source in (args.config, args.checkpoint):
        for suffix in (*SUFFIXES.values(), ".json"):
            check_other_file(source, f"{args.out}{suffix}")
    with progress_bar("exporting, and running what comes out"):
        parities = export_model(
            args.config,
            args.checkpoint,
            args.out,
            tokenizer=args.tokenizer,
            input=args.input,
            formats=list(SUFFIXES) if args.format == "both" else [args.format],
            batch_size=args.batch_size,
            tolerance=args.tolerance,
            **({} if args.logits_size is None else {"logits_size": args.logits_size}),
            **({"compare_grids": False} if args.any_grid else {}),
        )
    for parity in parities:
        print(report(parity))
    print(f"{args.out}.json: what it takes and gives, class names, tokenizer")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
