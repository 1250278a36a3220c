"""Import a published release into a store, export a store as a release, or copy a store with another codec.

python tools/convert_store.py imagenet1k-train-token.data.bin.gz data/in1k-train --codebook codebook.ckpt
python tools/convert_store.py data/in1k-train out/imagenet1k-train --to release
python tools/convert_store.py data/in1k-train data/in1k-train-raw --to store --codec raw
python tools/convert_store.py data/in1k-train data/in1k-train-dense --codec zstd
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seitpp.ingest.sources import read_class_names
from seitpp.io.atomic_write import check_other_file
from seitpp.io.command_line import run_tool
from seitpp.io.progress import progress_bar
from seitpp.storage import (
    CODECS,
    DEFAULT_SHARD_BYTES,
    SeitRelease,
    StoreReader,
    copy_store,
    import_release,
    is_release,
    load_synonyms,
    write_release,
)
from seitpp.tokenizers.codebook import load_codebook, save_codebook

_IMPORT_OPTIONS = ("labels", "codebook", "codebook_size", "grid", "synonyms", "classes", "name")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line and fill in `to`; options that contradict each other end the program with status 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of a store, or a release: NAME-token.data.bin.gz")
    parser.add_argument("dst", type=Path, metavar="DST", help="folder of the new store, or prefix of the release files")
    parser.add_argument(
        "--to", choices=["store", "release"], help="default: the other format; store if --codec is given"
    )
    parser.add_argument("--codec", choices=sorted(CODECS), help="codec of the new store (default: bitpacked)")
    parser.add_argument(
        "--shard-bytes",
        type=int,
        metavar="N",
        help=f"size that a shard of the new store should not exceed (default: {DEFAULT_SHARD_BYTES})",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted conversion to a store")
    only_import = parser.add_argument_group("import of a release")
    only_import.add_argument("--labels", type=Path, metavar="FILE", help="label file, if it does not lie beside SRC")
    codes = only_import.add_mutually_exclusive_group()
    codes.add_argument("--codebook", type=Path, metavar="FILE", help="codebook.ckpt of the release")
    codes.add_argument("--codebook-size", type=int, metavar="K", help="number of codes, if there is no codebook file")
    only_import.add_argument("--grid", type=int, nargs=2, metavar=("H", "W"), help="codes per image (default: 32 32)")
    only_import.add_argument("--synonyms", type=Path, metavar="FILE", help="JSON object: code -> list of similar codes")
    only_import.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="class names, one per line in the order of their indices; or a folder whose sorted sub-folders have them",
    )
    only_import.add_argument("--name", metavar="TOKENIZER_NAME", help="name of the tokenizer in the header")
    args = parser.parse_args(argv)
    from_release = is_release(args.src)
    args.to = args.to or ("store" if from_release or args.codec or args.shard_bytes is not None else "release")
    if args.to == "release" and (from_release or args.codec or args.resume or args.shard_bytes is not None):
        parser.error("a release is written from a store, without --codec, --shard-bytes or --resume")
    unused = [name for name in _IMPORT_OPTIONS if getattr(args, name) is not None]
    if unused and not from_release:
        option = unused[0].replace("_", "-")
        parser.error(f"--{option} belongs to the import of a release; a store brings its own")
    if from_release and args.codebook is None and args.codebook_size is None:
        parser.error("a release does not say how many codes there are: give --codebook FILE or --codebook-size K")
    return args


def store_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return how the new store is written, as far as the command line says."""
    given = {"codec": args.codec, "shard_bytes": args.shard_bytes}
    return {"resume": args.resume} | {name: value for name, value in given.items() if value is not None}


def import_store(args: argparse.Namespace) -> None:
    """Import the release `args.src` into the store `args.dst`."""
    codebook = None if args.codebook is None else load_codebook(args.codebook)
    codebook_size = args.codebook_size if codebook is None else len(codebook)
    release = SeitRelease(args.src, args.labels, grid=tuple(args.grid or (32, 32)), codebook_size=codebook_size)
    with progress_bar("importing") as progress:
        import_release(
            release,
            args.dst,
            codebook=codebook,
            tokenizer={"name": args.name or "unknown"},
            classes=None if args.classes is None else read_class_names(str(args.classes)),
            synonyms=load_synonyms(args.synonyms) if args.synonyms else None,
            **store_options(args),
            progress=progress,
        )
    if release.labels is None:
        print("no label file was found: the store has no labels")
    if release.noncanonical_escapes:
        print(f"{release.noncanonical_escapes} escape bytes without effect: the codes are right, an export omits them")


def export_release(args: argparse.Namespace) -> None:
    """Export the store `args.src` as release files, and say of each whether it holds what was imported."""
    reader = StoreReader(args.src)
    codebook_path = args.dst.parent / "codebook.ckpt"
    if reader.codebook is not None and codebook_path.exists():
        raise FileExistsError(f"{codebook_path} exists already")
    with progress_bar("exporting") as progress:
        files = write_release(reader, args.dst, progress=progress)
    for file in files:
        verdict = {True: "same content as imported", False: "differs from the import", None: "written"}
        print(f"{file.path}: {file.num_bytes} bytes, {verdict[file.same_content]}")
    if reader.codebook is not None:
        save_codebook(codebook_path, reader.codebook)
        print(f"{codebook_path}: {codebook_path.stat().st_size} bytes, written")


def main(argv: Sequence[str] | None = None) -> None:
    """Import, export or copy, and say what was written."""
    args = parse_args(argv)
    check_other_file(args.src, args.dst)
    if args.to == "release":
        export_release(args)
        return
    if is_release(args.src):
        import_store(args)
    else:
        with progress_bar("copying") as progress:
            copy_store(StoreReader(args.src), args.dst, **store_options(args), progress=progress)
    store = StoreReader(args.dst)
    print(f"{args.dst}: {len(store)} samples, {store.num_bytes} bytes, content hash {store.content_hash}")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
