"""The whole path in minutes on a CPU: images, tokenizer, store, TokenAdapt, MTM, classifiers, scores, pictures.

    bash tools/quickstart.sh

Every step after the store is the command that the full-size recipes use, on configs that differ in size alone. The
images are scikit-learn's handwritten digits (1,797 real ones, in its wheel); nothing is downloaded. Runs that do not
wait for each other share the cores, with one thread each.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from seitpp.benchmarking.quickstart.digits import CODEBOOK_SIZE, write_digits
from seitpp.benchmarking.quickstart.pictures import draw_curves, draw_method
from seitpp.benchmarking.quickstart.plan import RUNS, run_all
from seitpp.benchmarking.quickstart.table import results_table
from seitpp.benchmarking.runs import console, run_command
from seitpp.io.command_line import run_tool
from seitpp.storage import StoreReader

OUT = Path("work_dirs/quickstart")


def main(argv: Sequence[str] | None = None) -> None:
    """Run every step and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seeds", type=int, default=1, choices=range(1, 11), metavar="N", help="train N times and give the spread"
    )
    args = parser.parse_args(argv)
    start = time.perf_counter()
    for earlier in [*(OUT / name for name in RUNS), *OUT.glob("seed*")]:
        shutil.rmtree(earlier, ignore_errors=True)
    write_digits(OUT)
    stores = [StoreReader(OUT / "tokens" / split) for split in ("train", "val")]
    (rows, columns), count = stores[0].grid, sum(map(len, stores))
    console.print(
        f"Tokenised {count:,} digits into {OUT / 'tokens'} in {time.perf_counter() - start:.0f} s: {rows} x {columns} "
        f"codes of {CODEBOOK_SIZE} per image."
    )
    run_command("tools/inspect_store.py", "verify", OUT / "tokens" / "train", log=OUT / "verify.log")
    draw_method(OUT, OUT / "tokens.png", trained=False)
    console.print(f"Picture of digits, their tokens and what these keep: {OUT / 'tokens.png'}")
    results = run_all(OUT, args.seeds)
    draw_method(OUT, OUT / "method.png", trained=True)
    draw_curves(OUT, OUT / "curves.png")
    console.print(results_table(OUT, results))
    console.print(f"Pictures: {OUT / 'method.png'}, {OUT / 'curves.png'}")
    console.print(f"Took {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    raise SystemExit(run_tool(main))
