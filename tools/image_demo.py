"""Classify or segment images or tokens: `python tools/image_demo.py IMG CONFIG --checkpoint CHECKPOINT [options]`.

IMG is an image, a folder of images with its sub-folders, or the folder of a token store. CONFIG says whether it is
classified or segmented. Images need the tokenizer of the model's training: that of a token store which CONFIG names, or
`--tokenizer`, a file of configs/tokenizers/ or a token store that it made.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from seitpp.apis import TokenSegInferencer, get_inferencer
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, in the shape of OpenMMLab's image demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("img", metavar="IMG", help="image, folder of images, or folder of a token store")
    parser.add_argument("model", metavar="CONFIG", help="config file, or the name of one that comes with seitpp")
    parser.add_argument("--checkpoint", required=True, help="checkpoint")
    parser.add_argument("--tokenizer", metavar="CONFIG_OR_STORE", help="what makes tokens of images")
    parser.add_argument(
        "--indices", type=int, nargs="+", metavar="N", help="samples of a token store (default: all of them)"
    )
    parser.add_argument("--topk", type=int, help="(classification) classes to list (default: 5)")
    parser.add_argument("--opacity", type=float, help="(segmentation) share of a class's colour (default: 0.5)")
    parser.add_argument("--batch-size", type=int, help="samples at a time (default: 32; segmentation: 8)")
    parser.add_argument("--show", action="store_true", help="show each picture in a window")
    parser.add_argument("--show-dir", help="write pictures to this folder")
    parser.add_argument("--pred-dir", help="write label maps (PNG files of class indices), or classes (JSON), there")
    parser.add_argument("--out-dir", help="write both, to the folders vis and pred in this one")
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


def shares_table(names: Sequence[str], results: Sequence[Mapping]) -> Table:
    """Return a table of the classes that occur per sample, with their share of the pixels."""
    table = Table("sample", "size", "class", "share")
    for name, result in zip(names, results, strict=True):
        for rank, (found, share) in enumerate(result["classes"].items()):
            table.add_row(*(("", "") if rank else (name, result["size"])), str(found), f"{share:.1%}")
        table.add_section()
    return table


def kept(result: dict[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a result, without its arrays: there may be many."""
    if "topk" in result:
        return {"topk": result["topk"]}
    return {"classes": result["classes"], "size": " x ".join(map(str, result["pred_sem_seg"].shape))}


def main(argv: Sequence[str] | None = None) -> None:
    """Classify or segment, print and draw."""
    args = parse_args(argv)
    forbid_pickled_code()
    options = {"device": args.device, "tokenizer": args.tokenizer, "compare_grids": not args.any_grid}
    inferencer = get_inferencer(args.model, args.checkpoint, **options)
    segments = isinstance(inferencer, TokenSegInferencer)
    foreign, kind = ("topk", "a segmentor") if segments else ("opacity", "a classifier")
    if getattr(args, foreign) is not None:
        raise ValueError(f"--{foreign} means nothing here: {args.model} is the config of {kind}")
    drawn = args.show or args.show_dir is not None or args.out_dir is not None
    try:
        inputs = inferencer.open(args.img, args.indices, pictured=drawn)
    except IndexError as error:
        raise ValueError(f"--indices: {error}") from error
    names = ("batch_size", "topk", "opacity", "show_dir", "pred_dir", "out_dir")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    results = [kept(result) for result in inferencer.stream(inputs, show=args.show, **options)]
    Console().print((shares_table if segments else results_table)(inputs.names, results))
    if args.out_dir is not None:
        print(f"pictures: {args.out_dir}/vis, predictions: {args.out_dir}/pred")
    if args.show_dir is not None:
        print(f"pictures: {args.show_dir}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
