"""The study: pixels, SeiT and SeiT++ on shares of one set of images, from tokenizer to tables and figures.

    python tools/study.py --set fashion-mnist

IMAGES has train/CLASS/* and val/CLASS/*, which are the test images; the last training images of each class are held
out to choose learning rates. Jobs run in the order of their importance, as many at once as there are cores, one thread
each; what has run is left out, so that the same command goes on where it was stopped. Tables and figures come from the
logs alone: OUT/SET/, and --page with images/ beside it. `--size small` takes minutes and shows that all steps run, on
digits that a package brings where there is no --images; its scores mean nothing.

steps:
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from seitpp.benchmarking.runs import available_cores
from seitpp.benchmarking.study.digits import write_digits
from seitpp.benchmarking.study.figures import make_figures
from seitpp.benchmarking.study.jobs import run_jobs
from seitpp.benchmarking.study.methods import SETS, SIZES, STEPS
from seitpp.benchmarking.study.pictures import make_pictures
from seitpp.benchmarking.study.plan import Study
from seitpp.benchmarking.study.records import Run, find_runs, read_records, write_records
from seitpp.benchmarking.study.steps import run_names, study_jobs
from seitpp.benchmarking.study.tables import make_tables, write_page
from seitpp.io.atomic_write import write_whole
from seitpp.io.command_line import run_tool

console = Console(highlight=False, soft_wrap=True)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    steps = "\n".join(f"  {name:<12}{title}" for name, title in STEPS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}{steps}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", choices=tuple(SETS), help="images (default: fashion-mnist; with --tables-only: all)")
    parser.add_argument("--size", choices=sorted(SIZES), default="full", help="how much is run (default: full)")
    parser.add_argument("--images", type=Path, help="folder of the images (default: data/SET; small: digits)")
    parser.add_argument("--data", type=Path, help="their splits; stores go beside (default: data/study[-SET][-small])")
    parser.add_argument("--out", type=Path, help="folder of the runs of all sets (default: work_dirs/study[-small])")
    parser.add_argument("--jobs", type=int, default=available_cores(), help="jobs at once (default: cores)")
    parser.add_argument("--steps", nargs="+", choices=tuple(STEPS), metavar="STEP", help="run these only")
    parser.add_argument(
        "--more-rates", action="store_true", help="choose learning rates at the largest share, too, not at one for all"
    )
    parser.add_argument("--tables-only", action="store_true", help="run nothing; make the tables of what has run")
    parser.add_argument("--records", type=Path, metavar="FILE", help="add the runs to this file, whose others are kept")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables into this page, docs/study.md")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: expected 1 or more")
    return args


def study_of(name: str, args: argparse.Namespace) -> Study:
    """Return the study of a set of images."""
    suffix = "" if args.size == "full" else f"-{args.size}"
    images = SETS[name]
    data = args.data or Path("data", f"{images.data}{suffix}")
    made = data.with_name(f"{data.name}-images") if args.size == "small" else images.images
    out = args.out or Path("work_dirs", f"study{suffix}")
    return Study(images, SIZES[args.size], args.images or made, data, out, args.more_rates)


def run(study: Study, args: argparse.Namespace) -> None:
    """Run what has not run, the images first where they can be made."""
    if not study.data.is_dir() and not (study.images / "train").is_dir():
        if args.images is not None or args.size != "small":
            raise FileNotFoundError(f"{study.images}/train does not exist; docs/study.md says how to get the images")
        write_digits(study.images, study.set.pixels, study.set.channels)
    jobs = study_jobs(study, args.steps or tuple(STEPS))
    console.print(f"{study.set.title}: {len(jobs)} jobs; each has its commands and their output in commands.log")
    ran = run_jobs(jobs, args.jobs, lambda line: console.print(line, markup=False))
    console.print(f"{ran} run now, {len(jobs) - ran} done before")


def known_runs(study: Study, records: Path | None, *, may_be_new: bool) -> dict[str, Run]:
    """Return the finished runs of a study, and those of the file of records that are not there any more."""
    recorded = {} if records is None or (may_be_new and not records.exists()) else read_records(records)
    return {**recorded, **find_runs(study.out, run_names(study))}


def report(study: Study, args: argparse.Namespace) -> str:
    """Write the records of what has run, the tables to the page and the figures beside it; return the tables."""
    runs = known_runs(study, args.records, may_be_new=not args.tables_only)
    if args.records is not None:
        write_records(args.records, runs)
    tables = make_tables(study, runs)
    if args.page is not None:
        write_page(args.page, tables)
    folder = study.out / study.set.name if args.page is None else args.page.parent / "images"
    for path in (*make_figures(runs, study, folder), *make_pictures(study, folder)):
        console.print(path, markup=False)
    return "\n".join(f"## {name}\n\n{table}" for name, table in tables.items())


def main(argv: Sequence[str] | None = None) -> None:
    """Run what has not run, and write tables and figures, also when some jobs failed."""
    args = parse_args(argv)
    default = tuple(SETS) if args.tables_only else ("fashion-mnist",)
    studies = [study_of(name, args) for name in (default if args.set is None else (args.set,))]
    failure = None
    for study in studies:
        if not args.tables_only:
            try:
                run(study, args)
            except ChildProcessError as error:  # the tables show what has run
                failure = error
        tables = report(study, args)
        write_whole(study.out / study.set.name / "tables.md", tables.encode())
        console.print(tables, markup=False)
    if failure is not None:
        raise failure


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
