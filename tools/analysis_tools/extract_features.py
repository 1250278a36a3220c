"""Write the features of a token store or a folder of images to a .npy file.

python tools/analysis_tools/extract_features.py CONFIG CHECKPOINT SOURCE OUT.npy [--pool mean|cls|none] [--tokenizer T]

CONFIG and CHECKPOINT are those of a classifier, an MTM or a segmentor, whose encoder is taken; CONFIG may be the name
of one that comes with seitpp. SOURCE is a token store, or a folder of images with its sub-folders, which are tokenised
on the way. Beside OUT.npy lie OUT_labels.npy, OUT_names.txt and OUT.json.
"""

import argparse
from collections.abc import Sequence

from seitpp.apis import FeatureExtractor
from seitpp.apis.feature_file import write_features
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import run_tool


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file, or the name of one that comes with seitpp")
    parser.add_argument("checkpoint", help="checkpoint")
    parser.add_argument("source", help="folder of a token store, or folder of images")
    parser.add_argument("out", help="file to write, which ends in .npy")
    parser.add_argument(
        "--pool",
        choices=["mean", "cls", "patch", "none"],
        help="mean of the patches, class token, or every patch (none, patch); default: what the model's head reads",
    )
    parser.add_argument("--tokenizer", metavar="CONFIG_OR_STORE", help="what makes tokens of images")
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32", help="numbers in the file")
    parser.add_argument("--batch-size", type=int, help="samples at a time (default: 256)")
    parser.add_argument("--device", help="where to compute, such as cpu or cuda:0 (default: a GPU if there is one)")
    parser.add_argument(
        "--any-grid", action="store_true", help="take another grid of tokens than the model was trained on"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Extract, and say what was written."""
    args = parse_args(argv)
    forbid_pickled_code()
    extractor = FeatureExtractor(
        args.config,
        args.checkpoint,
        args.device,
        tokenizer=args.tokenizer,
        compare_grids=not args.any_grid,
    )
    pool = "patch" if args.pool == "none" else args.pool
    files = write_features(extractor, args.source, args.out, pool, args.batch_size, args.dtype)
    print(f"{files.features}: {' x '.join(map(str, files.shape))} {files.dtype}, pool {files.pool}")
    if files.labels is not None:
        print(f"{files.labels}: labels{'' if files.classes is None else f' of {len(files.classes)} classes'}")
    print(f"{files.names}: one line per sample")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
