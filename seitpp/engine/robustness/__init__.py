"""One classifier on all robustness benchmarks (SeiT++, Table 5): what to run, running it once, and one table of it."""

from seitpp.engine.robustness.plan import Benchmark, Pass, Plan, read_plan
from seitpp.engine.robustness.results import RESULTS_FILE, PassResult, Results, read_results
from seitpp.engine.robustness.rows import Row, table_rows
from seitpp.engine.robustness.testing import run_benchmarks

__all__ = [
    "RESULTS_FILE",
    "Benchmark",
    "Pass",
    "PassResult",
    "Plan",
    "Results",
    "Row",
    "read_plan",
    "read_results",
    "run_benchmarks",
    "table_rows",
]
