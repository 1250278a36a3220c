"""From a folder of your own pictures to a trained model and a page about it.

python tools/train_on_images.py SOURCE OUT
python tools/train_on_images.py data/flowers work_dirs/flowers --method mtm --minutes 30

SOURCE has a folder of images for each class, or images/ and annotations/ with a map of classes for each image; lists
and tar files are taken, too (docs/tokenizing.md). The tool runs the commands that you would type: each is printed,
logged, and listed in OUT/report.html. It leaves configs in OUT/configs that are yours to edit and to run with
tools/train.py. Start it again with the same words, and it goes on where it stopped. docs/own_images.md says more.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from seitpp.io.checkpoint import forbid_pickled_code
from seitpp.io.command_line import positive_number, run_tool
from seitpp.io.locks import FolderLock
from seitpp.workflow import Request, check_same_request, headline, make_plan, read_plan, run_steps, write_report


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", help="your images")
    parser.add_argument("out", metavar="OUT", help="work folder, new or unfinished")
    parser.add_argument(
        "--val", metavar="SOURCE", help="images to score on (default: a fifth of each class is held out)"
    )
    parser.add_argument(
        "--tokenizer", metavar="CONFIG|STORE", help="what makes tokens of images (default: k-means, fitted to them)"
    )
    parser.add_argument(
        "--image-size",
        type=positive_number,
        metavar="PIXELS",
        help="side that images are brought to (default: their own, at most 64)",
    )
    parser.add_argument("--model", default="tiny", help="size of the network: tiny (default), small or base")
    parser.add_argument(
        "--method", default="seit", help="seit (default), seitpp (with TokenAdapt) or mtm (pre-train, then fine-tune)"
    )
    parser.add_argument("--minutes", type=float, default=5.0, metavar="M", help="for all of it, about (default: 5)")
    return parser.parse_args(argv)


def tools_folder() -> str:
    """Return the folder of the tools as a person here would type it."""
    folder = Path(__file__).resolve().parent
    return os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)


def seconds_since_start() -> float:
    """Return the seconds since this program was started: what every command takes until it begins to work."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError):  # no Linux
        return time.process_time()


def main(argv: Sequence[str] | None = None) -> int:
    """Plan or continue, run, and report; return the exit status, 130 after an interrupt from the keyboard."""
    args = parse_args(argv)
    forbid_pickled_code()
    try:
        run(args)
    except KeyboardInterrupt:
        print("interrupted; give the same command again to continue", file=sys.stderr)
        return 130
    return 0


def run(args: argparse.Namespace) -> None:
    """Make a plan or read that of a run before, carry it out, and write the page."""
    console = Console(highlight=False, soft_wrap=True)
    options = {name: value for name, value in vars(args).items() if name != "out"}
    request, out = Request(**options), os.path.normpath(args.out)
    plan = read_plan(out)
    if plan is not None:
        check_same_request(plan, request, out, tools_folder())
    else:
        plan = make_plan(request, out, tools_folder(), seconds_since_start(), console.print)
        plan.save()
    for note in plan.notes:
        console.print(note, markup=False)
    console.print(plan.overview(), markup=False)
    lock = FolderLock(Path(out), "work folder")
    try:
        seconds = run_steps(plan, console)
        console.print("Writing the report ...")
        path = write_report(plan, seconds)
    finally:
        lock.release()
    console.print(f"{headline(plan)}.", markup=False)
    console.print(f"Open {path} in a browser.", markup=False)


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
