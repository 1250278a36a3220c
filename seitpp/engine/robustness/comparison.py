"""Results of several classifiers as one table, methods as rows and benchmarks as columns (SeiT++, Table 5)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from seitpp.engine.robustness.plan import CLEAN
from seitpp.engine.robustness.results import Results
from seitpp.engine.robustness.rows import table_rows, weights_of


@dataclass(frozen=True)
class Compared:
    """One row: top-1 in % by the title of each benchmark; None where it was not run."""

    name: str
    weights: str
    scores: dict[str, float | None]


def weights_shown(results: Results, wanted: str) -> str:
    """Return which weights of a classifier are shown: those that are wanted, or its only ones."""
    found = weights_of(results)
    if not found:
        raise ValueError(f"the results of {results.checkpoint} hold no score; run tools/test_robustness.py again")
    return wanted if wanted in found else found[0]


def compare(classifiers: Mapping[str, Results], wanted: str) -> list[Compared]:
    """Return a row per classifier, and one per method of the paper where all have ImageNet's classes.

    Benchmarks without any score have no column.

    Args:
        classifiers: Results by the name to show.
        wanted: `average` or `raw`, for checkpoints that have both.
    """
    titles = {CLEAN: "clean"}
    for results in classifiers.values():
        titles |= {one.name: one.title for one in results.benchmarks if one.name not in titles}
    rows = []
    for name, results in classifiers.items():
        weights = weights_shown(results, wanted)
        found = {row.benchmark: row.score for row in table_rows(results, weights) if row.severity is None}
        rows.append(Compared(name, weights, {title: found.get(key) for key, title in titles.items()}))
    if all(results.paper for results in classifiers.values()):
        paper = {method: scores for results in classifiers.values() for method, scores in results.paper.items()}
        for method, scores in paper.items():
            rows.append(Compared(f"{method} (paper)", "", {title: scores.get(key) for key, title in titles.items()}))
    shown = [title for title in titles.values() if any(row.scores[title] is not None for row in rows)]
    return [replace(row, scores={title: row.scores[title] for title in shown}) for row in rows]
