"""Classify images or stored tokens: `python tools/image_demo.py IMG CONFIG --checkpoint CHECKPOINT [options]`.

IMG is an image, a folder of images, or the folder of a token store. Images need `--tokenizer`, a file of
configs/tokenizers/ or a token store that it made, unless the config names one.
"""

import argparse
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from seitpp.apis import TokenClassificationInferencer
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, in the shape of OpenMMLab's image demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("img", metavar="IMG", help="image, folder of images, or folder of a token store")
    parser.add_argument("model", metavar="CONFIG", help="config file")
    parser.add_argument("--checkpoint", required=True, help="checkpoint")
    parser.add_argument("--tokenizer", metavar="CONFIG_OR_STORE", help="what makes tokens of images")
    parser.add_argument(
        "--indices", type=int, nargs="+", metavar="N", help="samples of a token store (default: all of them)"
    )
    parser.add_argument("--topk", type=int, default=5, help="classes to list (default: 5)")
    parser.add_argument("--batch-size", type=int, default=32, help="samples at a time (default: 32)")
    parser.add_argument("--show", action="store_true", help="show each picture in a window")
    parser.add_argument("--show-dir", help="write pictures to this folder")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:0 (default: a GPU if there is one)")
    parser.add_argument(
        "--any-grid", action="store_true", help="take another grid of tokens than the model was trained on"
    )
    return parser.parse_args(argv)


def results_table(names: Sequence[str], results: Sequence[Mapping]) -> Table:
    """Return a table of the classes per sample, best first."""
    table = Table("sample", "label", "class", "score")
    for name, result in zip(names, results, strict=True):
        for rank, entry in enumerate(result["topk"]):
            label, score = str(entry["label"]), f"{entry['score']:.4f}"
            table.add_row("" if rank else name, label, entry.get("class", "-"), score)
        table.add_section()
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Classify, print and draw."""
    args = parse_args(argv)
    forbid_pickled_code()
    options = {"device": args.device, "tokenizer": args.tokenizer, "compare_grids": not args.any_grid}
    inferencer = TokenClassificationInferencer(args.model, args.checkpoint, **options)
    try:
        inputs = inferencer.open(args.img, args.indices, pictured=args.show or args.show_dir is not None)
    except IndexError as error:
        raise ValueError(f"--indices: {error}") from error
    results = inferencer(inputs, batch_size=args.batch_size, topk=args.topk, show=args.show, show_dir=args.show_dir)
    Console().print(results_table(inputs.names, results))
    if args.show_dir is not None:
        print(f"pictures: {args.show_dir}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
