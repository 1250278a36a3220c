"""Turn images into a token store.

python tools/tokenize_images.py configs/tokenizers/block_dct_q50.py data/imagenet data/in1k-dct-train --split train
torchrun --nproc_per_node 8 tools/tokenize_images.py configs/tokenizers/vitvqgan_base.py data/imagenet OUT --split train
python tools/tokenize_images.py configs/tokenizers/patch_kmeans_8px_k512.py data/mine OUT --split train val
python tools/tokenize_images.py OUT/train data/others OTHERS

TOKENIZER is a file of configs/tokenizers/, or a store that the tokenizer made. SOURCE is a folder of class folders or
of images, a folder with `images/` and `annotations/`, a .txt or .csv list, .tar files, idx files (MNIST), .npz or .npy
arrays, an OpenMMLab config, or several of these with commas between them; see docs/tokenizing.md. Several splits go to
a folder each in OUT_STORE; a tokenizer that is fitted to images is fitted to those of the first. A run that was killed
continues when it is started again.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from seitpp.images.decoding import MAX_PIXELS
from seitpp.ingest import Plan, Processes, TokenizeJob, clean, make_plans, make_report, report_folder, tokenize
from seitpp.ingest.report import TokenizeReport, left_out_message
from seitpp.ingest.run import Executor
from seitpp.ingest.sources.base import described_endings
from seitpp.io.atomic_write import check_other_file
from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import run_tool
from seitpp.io.config_options import add_options_argument
from seitpp.io.devices import check_device
from seitpp.io.process_group import process_group_ended
from seitpp.io.progress import progress_bar
from seitpp.storage import CODECS
from seitpp.tokenizers.from_config import read_tokenizer


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", metavar="TOKENIZER", help="a file of configs/tokenizers/, or a token store")
    parser.add_argument("source", metavar="SOURCE", help="images; a path or a URL that fsspec knows")
    parser.add_argument("out", metavar="OUT_STORE", help="folder of the store, new or unfinished; or a URL")
    parser.add_argument(
        "--split",
        nargs="+",
        default=[],
        help="sub-folders of the source, or splits of a config (default there: train); of several each gets a folder",
    )
    parser.add_argument("--root", help="folder of the paths in a list (default: that of the list)")
    parser.add_argument("--classes", metavar="FILE", help="class names, one per line, in the order of their indices")
    parser.add_argument("--unlabelled", action="store_true", help="leave labels out, whatever folders or tars say")
    parser.add_argument(
        "--on-error", choices=["skip", "fail"], default="skip", help="leave out images that cannot be read, or stop"
    )
    parser.add_argument(
        "--retry-left-out",
        action="store_true",
        help="read images again that were left out of a finished store, and make the shards that lack one again",
    )
    parser.add_argument(
        "--max-pixels",
        type=int,
        default=MAX_PIXELS,
        metavar="N",
        help=f"leave out images and label maps of more pixels (default: {MAX_PIXELS:,})",
    )
    add_options_argument(parser)
    maps = parser.add_argument_group("label maps")
    maps.add_argument("--annotations", metavar="DIR", help="label maps for the images in SOURCE")
    maps.add_argument(
        "--reduce-zero-label", action="store_true", help="0 means ignore and becomes 255, k becomes k - 1"
    )
    maps.add_argument(
        "--label-size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="size of label maps (default: the tokenizer's; 0 0: kept)",
    )
    work = parser.add_argument_group("work")
    work.add_argument("--device", help="cpu, cuda or cuda:N (default: cuda if there is one; one GPU per process)")
    work.add_argument("--workers", type=int, default=2, help="processes that decode images, per encoder (default: 2)")
    work.add_argument("--batch-size", type=int, default=64, help="images encoded at once (default: 64)")
    work.add_argument("--executor", choices=["local", "ray"], default="local", help="ray: a cluster, through Ray Data")
    work.add_argument("--ray-workers", type=int, default=1, help="encoding processes under Ray (default: 1)")
    work.add_argument("--ray-gpus", type=float, help="GPUs of each of them (default: 1 if --device is a GPU, else 0)")
    store = parser.add_argument_group("store")
    store.add_argument("--codec", choices=sorted(CODECS), default="bitpacked", help="default: bitpacked")
    store.add_argument(
        "--samples-per-shard", type=int, help="images of the source per shard (default: 4096, or fewer in 64 MiB)"
    )
    store.add_argument(
        "--min-psnr", type=float, default=18.0, help="warn if the round trip is below, in dB (default: 18)"
    )
    return parser.parse_args(argv)


def job_of(args: argparse.Namespace, processes: Processes) -> TokenizeJob:
    """Return the run that the command line describes, of no split yet."""
    for source in (args.tokenizer, args.source):
        check_other_file(source, args.out)
    return TokenizeJob(
        tokenizer=read_tokenizer(args.tokenizer, args.cfg_options, may_fit=True),
        source={
            "path": args.source,
            "root": args.root,
            "classes_file": args.classes,
            "annotations": args.annotations,
            "reduce_zero_label": args.reduce_zero_label,
            "unlabelled": args.unlabelled,
            "max_pixels": args.max_pixels,
        },
        out=args.out,
        codec=args.codec,
        batch_size=args.batch_size,
        samples_per_shard=args.samples_per_shard,
        num_workers=args.workers,
        device=device_of(args.device, processes),
        skip_unreadable=args.on_error == "skip",
        retry_left_out=args.retry_left_out,
        label_size=None if args.label_size is None else tuple(args.label_size),
    )


def device_of(name: str | None, processes: Processes) -> str:
    """Return the device of this process; `cuda` stands for one GPU for each process."""
    name = check_device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    return f"cuda:{processes.local_rank % torch.cuda.device_count()}" if name == "cuda" else name


def show(report: TokenizeReport, out: str, min_psnr: float, advice: str | None) -> None:
    """Print the report on the store `out` as a table, then what a person should look at.

    `advice` is what the tokenizer has to say on a round trip below `min_psnr`.
    """
    table = Table(show_header=False)
    for key, value in report.__dict__.items():
        value = len(value) if isinstance(value, list) else value
        value = described_endings(value) or None if isinstance(value, dict) else value
        shown = f"{value:.2%}" if key.startswith(("share", "codes_rep", "codes_ch")) and value is not None else value
        table.add_row(
            key.replace("_", " "),
            "-" if shown is None else f"{shown:,.2f}" if isinstance(shown, float) else str(shown),
        )
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    for warning in report.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    if report.num_unreadable:
        print(left_out_message(out), file=sys.stderr)
    if report.psnr_db is not None:
        print(f"Look at {report_folder(out)}/reconstructions.png")
        if report.psnr_db < min_psnr:
            hint = "is this the right checkpoint, with the right pixel range, for images of this kind?"
            print(
                f"warning: the round trip reaches {report.psnr_db:.1f} dB, below {min_psnr}; {advice or hint}",
                file=sys.stderr,
            )


def run(args: argparse.Namespace, processes: Processes) -> None:
    """Tokenise, then report, split by split."""
    job = job_of(args, processes)
    if processes.is_first and job.fit is not None and len(args.split) > 1:
        print(f"The tokenizer is fitted to {args.split[0]} and used for {', '.join(args.split[1:])} as it is")
    plans = make_plans(job, args.split, processes)
    if processes.is_first:
        for plan in plans:
            split = f"{plan.job.source['split']}: " if len(plans) > 1 else ""
            with progress_bar(f"looking at the labels of {plan.job.source_name}"):
                warnings = plan.source.warnings()
            for warning in warnings:
                print(f"warning: {split}{warning}", file=sys.stderr)
    executor = None
    if args.executor == "ray":
        from seitpp.ingest.ray import ray_executor

        # The machine that starts the run may be one without a GPU.
        on_gpu = float(job.device.startswith("cuda"))
        executor = ray_executor(args.ray_workers, num_gpus=on_gpu if args.ray_gpus is None else args.ray_gpus)
    for plan in plans:
        run_plan(plan, processes, executor, args.min_psnr)


def run_plan(plan: Plan, processes: Processes, executor: Executor | None, min_psnr: float) -> None:
    """Write one store, and report on it."""
    out, split = plan.job.out, plan.job.source["split"]
    name = "tokenizing" if split is None else f"tokenizing {split}"
    name = name if processes.world_size == 1 else f"{name}, process 0 of {processes.world_size}"
    with progress_bar(name, unit="images") as progress:
        totals = tokenize(plan, processes, progress, lambda text: print(f"warning: {text}", file=sys.stderr), executor)
    if not processes.is_first:
        return
    if totals is None:
        print(f"{out} is complete already; nothing was done")
        if (message := left_out_message(out)) is not None:
            print(message, file=sys.stderr)
        return
    show(make_report(plan, totals), out, min_psnr, plan.tokenizer.advice)
    clean(out)
    print(f"{out}: {totals.num_samples} images in {len(plan.shards)} shards")


def main(argv: Sequence[str] | None = None) -> int:
    """Tokenise, and report; return the exit status, 130 after an interrupt from the keyboard."""
    args = parse_args(argv)
    forbid_pickled_code()
    try:
        with process_group_ended():
            run(args, Processes.join())
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
