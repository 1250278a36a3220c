"""Import a published release into a store, export a store as a release, or copy a store with another codec.

python tools/convert_store.py imagenet1k-train-token.data.bin.gz data/in1k-train --codebook codebook.ckpt
python tools/convert_store.py data/in1k-train out/imagenet1k-train --to release
python tools/convert_store.py data/in1k-train data/in1k-train-raw --to store --codec raw
"""

import argparse
import json
import sys
from pathlib import Path

from seitpp.progress import progress_bar
from seitpp.storage import CODECS, SeitRelease, StoreReader, copy_store, import_release, write_release


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", type=Path, metavar="SRC", help="folder of a store, or NAME-token.data.bin.gz")
    parser.add_argument("dst", type=Path, metavar="DST", help="folder of the new store, or prefix of the release files")
    parser.add_argument(
        "--to", choices=["store", "release"], help="default: the other format; store if --codec is given"
    )
    parser.add_argument("--codec", choices=sorted(CODECS), help="codec of the new store (default: bitpacked)")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted conversion to a store")
    only_import = parser.add_argument_group("import of a release")
    only_import.add_argument("--labels", type=Path, metavar="FILE", help="label file, if it does not lie beside SRC")
    only_import.add_argument("--codebook", type=Path, metavar="FILE", help="codebook.ckpt of the release")
    only_import.add_argument("--synonyms", type=Path, metavar="FILE", help="JSON object: code -> list of similar codes")
    only_import.add_argument("--classes", type=Path, metavar="FILE", help="one class name per line")
    only_import.add_argument("--name", metavar="TOKENIZER_NAME", help="name of the tokenizer in the header")
    args = parser.parse_args(argv)
    is_release = args.src.name.endswith(".gz")
    args.to = args.to or ("store" if is_release or args.codec else "release")
    if args.to == "release" and (is_release or args.codec or args.resume):
        parser.error("a release is written from a store, without --codec or --resume")
    unused = [name for name in ("labels", "codebook", "synonyms", "classes", "name") if getattr(args, name) is not None]
    if unused and not is_release:
        parser.error(f"--{unused[0]} belongs to the import of a release; a store brings its own")
    return args


def import_store(args: argparse.Namespace) -> None:
    codebook = None
    if args.codebook is not None:
        from seitpp.codebook import load_codebook  # the only part that needs torch

        codebook = load_codebook(args.codebook)
    synonyms = json.loads(args.synonyms.read_text("utf-8")) if args.synonyms else None
    release = SeitRelease(args.src, args.labels, codebook_size=None if codebook is None else len(codebook))
    with progress_bar("importing") as progress:
        report = import_release(
            release,
            args.dst,
            codebook=codebook,
            tokenizer={"name": args.name or "unknown"},
            classes=args.classes.read_text("utf-8").splitlines() if args.classes else None,
            synonyms=synonyms and {int(code): similar for code, similar in synonyms.items()},
            codec=args.codec or "bitpacked",
            resume=args.resume,
            progress=progress,
        )
    if release.labels is None:
        print("no label file was found: the store has no labels")
    if report.noncanonical_escapes:
        print(f"{report.noncanonical_escapes} escape bytes without effect: the codes are right, an export omits them")


def export_release(args: argparse.Namespace) -> None:
    reader = StoreReader(args.src)
    codebook_path = args.dst.parent / "codebook.ckpt"
    if reader.codebook is not None and codebook_path.exists():
        raise FileExistsError(f"{codebook_path} exists already")
    with progress_bar("exporting") as progress:
        files = write_release(reader, args.dst, progress=progress)
    for file in files:
        verdict = {True: "identical to the imported file", None: "written"}.get(file.same_file, "")
        if file.same_file is False:
            verdict = (
                "same content as imported, but other gzip bytes" if file.same_content else "differs from the import"
            )
        print(f"{file.path}: {file.num_bytes} bytes, {verdict}")
    if reader.codebook is not None:
        from seitpp.codebook import save_codebook

        save_codebook(codebook_path, reader.codebook)
        print(f"{codebook_path}: {codebook_path.stat().st_size} bytes, written")


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        if args.to == "release":
            export_release(args)
            return 0
        if args.src.name.endswith(".gz"):
            import_store(args)
        else:
            with progress_bar("copying") as progress:
                codec = args.codec or "bitpacked"
                copy_store(StoreReader(args.src), args.dst, codec=codec, resume=args.resume, progress=progress)
        store = StoreReader(args.dst)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.dst}: {len(store)} samples, {store.num_bytes} bytes, content hash {store.content_hash}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
