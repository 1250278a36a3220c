"""The study: pixels, SeiT and SeiT++ on shares of one set of images, from tokenizer to tables.

    python tools/study.py --images data/fashion-mnist

IMAGES has train/CLASS/* and val/CLASS/*, which are the test images; the last training images of each class are held
out to choose learning rates. Every step prints its commands, runs as many at once as there are cores, one thread each,
and leaves out what has run. The tables come from the logs alone: OUT/tables.md, and --page. `--size small` takes
minutes and shows that all steps run; its scores mean nothing.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from seitpp.benchmarking.study.jobs import run_jobs
from seitpp.benchmarking.study.plan import SIZES, Study
from seitpp.benchmarking.study.tables import choose_rates, make_tables, write_page
from seitpp.io.atomic_write import write_whole
from seitpp.io.command_line import run_tool

console = Console(highlight=False, soft_wrap=True)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="how much is run (default: full)")
    parser.add_argument(
        "--images", type=Path, default=Path("data/fashion-mnist"), help="images (default: data/fashion-mnist)"
    )
    parser.add_argument("--data", type=Path, help="their splits; stores go beside (default: data/study[-small])")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: work_dirs/study[-small])")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="commands at once (default: cores)")
    parser.add_argument("--tables-only", action="store_true", help="run nothing; make the tables of what has run")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables into this page, docs/study.md")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected 1 or more")
    return args


def run_steps(study: Study, workers: int) -> None:
    """Run all steps in their order."""

    def show(line: str) -> None:
        console.print(line, markup=False)

    steps = {
        "images held out": study.split_jobs,
        "images to tokens": study.tokenize_jobs,
        "TokenAdapt": study.token_adapt_jobs,
        "MTM": study.mtm_jobs,
        "learning rates": study.rate_jobs,
        "scores": lambda: study.score_jobs(choose_rates(study)),
    }
    for number, (title, jobs_of) in enumerate(steps.items(), 1):
        jobs = jobs_of()
        console.print(f"[{number}/{len(steps)}] {title}: {len(jobs)} jobs", style="bold", markup=False)
        ran = run_jobs(jobs, workers, show)
        console.print(f"  {ran} run now, {len(jobs) - ran} done before", markup=False)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what has not run, and write the tables."""
    args = parse_args(argv)
    name = "study" if args.size == "full" else f"study-{args.size}"
    study = Study(SIZES[args.size], args.images, args.data or Path("data", name), args.out or Path("work_dirs", name))
    if not args.tables_only:
        if not study.data.is_dir() and not (study.images / "train").is_dir():
            raise FileNotFoundError(f"{study.images}/train does not exist; docs/study.md says how to get the images")
        run_steps(study, args.jobs)
    tables = make_tables(study)
    if args.page is not None:
        write_page(args.page, tables)
    study.out.mkdir(parents=True, exist_ok=True)
    write_whole(study.out / "tables.md", "\n".join(tables.values()).encode())
    console.print("\n".join(tables.values()), markup=False)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
