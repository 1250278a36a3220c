"""Results as rows of one table: score, clean score on the same classes, drop, images, and the paper's figures."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from seitpp.engine.robustness.plan import CLEAN, Benchmark
from seitpp.engine.robustness.results import PassResult, Results

WEIGHTS = {"model": "", "average": "moving average of the weights", "raw": "raw weights, which the paper scores"}


@dataclass(frozen=True)
class Row:
    """One row, of a benchmark, of one severity of it, or of the clean images.

    Attributes:
        benchmark: Its name.
        title: What the table calls it.
        severity: 1 to 5, or None for the benchmark as a whole, of which the score is the mean of its severities.
        score: Top-1 in %; None where it was not run.
        clean: Top-1 in % of the clean images of the same classes, with the same classes competing; None if not run.
        num_images: Images that were scored.
        num_clean: Clean images of the same classes.
        num_expected: Images that there should be, where known.
        convention: How it was scored; why not, where it was not run.
        paper: Top-1 in % by method.
    """

    benchmark: str
    title: str
    severity: int | None = None
    score: float | None = None
    clean: float | None = None
    num_images: int | None = None
    num_clean: int | None = None
    num_expected: int | None = None
    convention: str = ""
    paper: dict[str, float] = field(default_factory=dict)

    @property
    def drop(self) -> float | None:
        """Points lost to the clean images of the same classes."""
        return None if self.score is None or self.clean is None else self.clean - self.score


def weights_of(results: Results) -> list[str]:
    """Return which weights have scores: `model`, or `average` and `raw` of a moving average."""
    found = {weights for one in results.passes.values() for scores in one.scores.values() for weights in scores}
    return [weights for weights in WEIGHTS if weights in found]


def table_rows(results: Results, weights: str) -> list[Row]:
    """Return the rows of a table, the clean images first.

    Args:
        results: Of one checkpoint.
        weights: Whose scores: one of `weights_of`.
    """
    rows = [_clean_row(results, weights)]
    for benchmark in results.benchmarks:
        rows += _rows_of(benchmark, results, weights)
    return rows


def _clean_row(results: Results, weights: str) -> Row:
    found, paper = results.passes.get(CLEAN), _paper(results, CLEAN)
    if found is None or CLEAN in results.absent:
        return Row(CLEAN, "clean", convention=_reason(results, CLEAN), paper=paper)
    return Row(
        CLEAN,
        "clean",
        score=found.scores[CLEAN].get(weights),
        num_images=found.counts[CLEAN],
        num_expected=found.num_expected,
        convention=found.convention,
        paper=paper,
    )


def _rows_of(benchmark: Benchmark, results: Results, weights: str) -> Iterator[Row]:
    name, paper = benchmark.name, _paper(results, benchmark.name)
    passes = [results.passes.get(key) for key in benchmark.keys]
    if any(one is None for one in passes) or name in results.absent:
        yield Row(name, benchmark.title, convention=_reason(results, name), paper=paper)
        return
    clean, num_clean = _clean_of(name, results, weights)
    scores = [one.scores[name].get(weights) for one in passes]
    shared = {"clean": clean, "num_clean": num_clean}
    whole = None if None in scores else sum(scores) / len(scores)
    yield Row(name, benchmark.title, score=whole, **shared, **_images(passes[0], name), paper=paper)
    if benchmark.severities:
        for severity, score, one in zip(benchmark.severities, scores, passes, strict=True):
            yield Row(name, f"severity {severity}", severity, score, **shared, **_images(one, name))


def _images(found: PassResult, name: str) -> dict:
    return {
        "num_images": found.counts[name],
        "num_expected": found.num_expected,
        "convention": found.convention,
    }


def _clean_of(name: str, results: Results, weights: str) -> tuple[float | None, int | None]:
    clean = results.passes.get(CLEAN)
    if clean is None or CLEAN in results.absent:
        return None, None
    return clean.scores.get(name, {}).get(weights), clean.counts.get(name)


def _paper(results: Results, name: str) -> dict[str, float]:
    return {method: scores[name] for method, scores in results.paper.items() if name in scores}


def _reason(results: Results, name: str) -> str:
    return f"not run: {results.absent[name]}" if name in results.absent else "not run"
