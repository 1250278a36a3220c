"""Score a classifier on all robustness benchmarks: clean, noise, blur, ImageNet-R, ImageNet-Sketch and ObjectNet.

python tools/test_robustness.py configs/robustness/robustness_vit-base-p16_in1k-tokens.py CHECKPOINT
python tools/test_robustness.py CONFIG CHECKPOINT --images SOURCE

CONFIG is that of any classifier, of tokens or of pixels. Benchmarks whose data are not there are left out and named.
One table (SeiT++, Table 5) is printed and written, with each result as soon as it is there: the same command goes on
where it was stopped. Data, conventions and options: docs/benchmarks.md.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process

from seitpp.apis.model_index import config_folder
from seitpp.engine import launch
from seitpp.engine.checkpoint_sizes import follow_checkpoint
from seitpp.engine.config_checks import check_run
from seitpp.engine.model_kind import ModelKind, check_kind
from seitpp.engine.robustness import Plan, Results, read_plan, read_results, run_benchmarks
from seitpp.engine.robustness.checkpoint import (
    checkpoint_sha256,
    knows_imagenet,
    model_classes,
    read_outline,
    use_average,
)
from seitpp.engine.robustness.loaders import use_test_images
from seitpp.engine.robustness.rows import WEIGHTS, table_rows, weights_of
from seitpp.engine.robustness.tables import cells, footer, heading, severity_scores, write_tables
from seitpp.images.decoding import MAX_PIXELS
from seitpp.io.atomic_write import written_whole
from seitpp.io.command_line import counted_number, positive_number, run_tool
from seitpp.io.config_file import read_config
from seitpp.io.config_options import apply_options
from seitpp.io.process_group import process_group_ended
from seitpp.io.tables import print_table
from seitpp.io.text import shorten
from seitpp.visualization.severity_curves import draw_severity_curves

STANDARD = "_base_/evaluation/robustness_in1k.py"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config of a classifier, of tokens or of pixels")
    parser.add_argument("checkpoint", help="checkpoint to score")
    parser.add_argument("--out-dir", type=Path, metavar="DIR", help="results (default: robustness/ in the work folder)")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="benchmarks to run (default: all whose data are there)"
    )
    parser.add_argument("--amp", action="store_true", help="test in bfloat16 (CPU and GPU)")
    data = parser.add_argument_group("data")
    data.add_argument("--images", metavar="SOURCE", help="clean images in place of the config's: class folders, ...")
    data.add_argument("--split", help="sub-folder of SOURCE, or split of a config")
    data.add_argument("--root", metavar="DIR", help="folder of the paths in a list (default: that of the list)")
    data.add_argument(
        "--classes", metavar="FILE", help="the model's class names, one per line (default: the checkpoint's)"
    )
    data.add_argument("--imagenet-c", metavar="DIR", help="ImageNet-C's images, in place of corruptions on the fly")
    data.add_argument(
        "--tokenizer",
        metavar="CONFIG_OR_STORE",
        help="a file of configs/tokenizers/, or a token store (default: what made the config's test store)",
    )
    data.add_argument(
        "--max-pixels", type=positive_number, metavar="N", help=f"most per image (default: {MAX_PIXELS:,})"
    )
    data.add_argument("--workers", type=counted_number, help="processes that decode images")
    data.add_argument("--batch-size", type=positive_number, help="images scored at once")
    rules = parser.add_argument_group("rules")
    rules.add_argument("--seed", type=counted_number, default=0, help="of the noise (default: 0)")
    rules.add_argument(
        "--corruption-order",
        choices=("input", "imagenet-c"),
        default="input",
        help="corrupt what the network or the tokenizer receives (default), or the crop of 224 as ImageNet-C did",
    )
    rules.add_argument(
        "--candidates", choices=("matched", "all"), help="classes that compete on ObjectNet (default: matched)"
    )
    launch.add_common_arguments(parser)
    args = parser.parse_args(argv)
    for option in ("split", "root"):
        if args.images is None and getattr(args, option) is not None:
            parser.error(f"--{option} means nothing without --images")
    return args


def load_config(args: argparse.Namespace, outline: dict | None) -> Config:
    """Read a classifier's config, with the standard benchmarks where it names none; `--cfg-options` may change both."""
    given = dict(args.cfg_options or {})
    own = {key: given.pop(key) for key in list(given) if key.removeprefix("+").split(".")[0] == "robustness"}
    args.cfg_options = given or None
    config = launch.load_config(args)
    check_kind(config, ModelKind.CLASSIFIER)
    if config.get("robustness") is None:
        config.robustness = read_config(config_folder() / STANDARD).robustness
    apply_options(config, own)
    check_run(config, "test")
    follow_checkpoint(config, outline or {}, keep=given)
    config.load_from, config.resume = args.checkpoint, False
    use_average(config, outline)
    return config


def plan_of(args: argparse.Namespace, config: Config) -> Plan:
    """Return what to run."""
    options = {"source": args.images, "split": args.split, "root": args.root, "classes_file": args.classes}
    clean = None if args.images is None else {key: value for key, value in options.items() if value is not None}
    return read_plan(
        config.robustness,
        clean=clean,
        only=args.only,
        imagenet_c=args.imagenet_c,
        candidates=args.candidates,
        order=args.corruption_order,
        seed=args.seed,
    )


def loader_options(args: argparse.Namespace) -> dict:
    """Return options of `use_test_images` that were given."""
    found = {
        "tokenizer": args.tokenizer,
        "max_pixels": args.max_pixels,
        "num_workers": args.workers,
        "batch_size": args.batch_size,
    }
    return {name: value for name, value in found.items() if value is not None}


def model_sha256(config: Config) -> str:
    """Return a hash of what the config says of the model and of its input."""
    parts = [config.model, config.get("data_preprocessor"), config.test_dataloader.dataset.get("pipeline")]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def notes_of(args: argparse.Namespace, config: Config, plan: Plan, sha256: str) -> dict[str, str]:
    """Return what the table says below itself."""
    made_by = config.test_dataloader.dataset.get("tokenizer")
    named = args.tokenizer or (made_by if isinstance(made_by, str) else None)
    notes = {"config": str(args.config), "checkpoint": f"{args.checkpoint} (SHA-256 {sha256[:12]})"}
    if made_by is not None:
        notes["tokenizer"] = str(named or made_by)
    if any("corruption" in one.options for one in plan.passes):
        notes["corruptions"] = f"seed {args.seed}, order {args.corruption_order}"
    elif sources := [one.source for one in plan.passes if one.severity is not None]:
        notes["corruptions"] = f"read from {shorten(sources, 2)}, and resized and cropped as other images are"
    return {**notes, "precision": "bfloat16" if args.amp else "float32"}


def score(args: argparse.Namespace) -> tuple[Results, Path]:
    """Run what has no result yet."""
    outline = read_outline(args.checkpoint)
    config = load_config(args, outline)
    folder = args.out_dir or Path(config.work_dir) / "robustness"
    config.work_dir = str(folder)  # for logs: those of the work folder are the training's
    plan, sha256 = plan_of(args, config), checkpoint_sha256(args.checkpoint)
    classes = model_classes(config, outline, args.classes, plan)
    is_imagenet = knows_imagenet(classes)
    if not is_imagenet:
        for name in dict.fromkeys(one.benchmark for one in plan.passes if one.knows_own_classes):
            plan.leave_out(name, "its classes are ImageNet's, and the model has others")
    results = Results(args.checkpoint, sha256)
    if (folder / "results.json").exists():
        results = read_results(folder)
        results.check_checkpoint(sha256, folder)
    use_test_images(config, plan.passes[0].source, loader_options(args))
    if args.amp:
        # mmengine's loop turns any outer autocast off, and takes the device's default type where its own is on.
        config.test_cfg.fp16 = True
        torch.set_autocast_dtype(get_device(), torch.bfloat16)
    results.benchmarks, results.absent = plan.benchmarks, dict(plan.absent)
    results.paper = plan.paper if is_imagenet else {}
    results.notes = notes_of(args, config, plan, sha256)
    shared = {"model_sha256": model_sha256(config), "amp": args.amp}
    with launch.alone_in(folder, args.launcher):
        run_benchmarks(config, plan, results, folder, classes, shared)
    return results, folder


def report(results: Results, folder: Path) -> None:
    """Print the table and write it."""
    for weights in weights_of(results):
        rows = (cells(row, results) for row in table_rows(results, weights))
        print_table(heading(results), rows, WEIGHTS[weights])
        print()
    print(*footer(results), "", sep="\n")
    written = write_tables(results, folder)
    if curves := severity_scores(results, weights_of(results)[0]):
        picture = folder / "robustness.png"
        with written_whole(picture) as temporary:
            draw_severity_curves({"": curves}).savefig(temporary, format="png", dpi=120)
        written.append(picture)
    for path in written:
        print(f"wrote {path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Score, print and write."""
    args = parse_args(argv)
    try:
        with process_group_ended():
            results, folder = score(args)
            if is_main_process():
                results.write(folder)
                report(results, folder)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
