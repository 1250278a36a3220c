"""The table of one checkpoint as cells, CSV and Markdown."""

from collections.abc import Iterator
from pathlib import Path

from seitpp.engine.robustness.plan import CLEAN
from seitpp.engine.robustness.results import Results
from seitpp.engine.robustness.rows import WEIGHTS, Row, table_rows, weights_of
from seitpp.io.atomic_write import write_whole
from seitpp.io.csv_file import write_csv
from seitpp.io.text import markdown_table, shorten

NOT_RUN = "not run"
_INDENT = "&nbsp;&nbsp;"


def heading(results: Results) -> list[str]:
    """Return the names of the columns that `cells` fills."""
    return ["benchmark", "top-1", "clean, same classes", "drop", "images", *paper_columns(results)]


def paper_columns(results: Results) -> list[str]:
    """Return the columns of the paper's figures."""
    return [f"{method} (paper)" for method in results.paper]


def cells(row: Row, results: Results) -> list[str]:
    """Return a row of the table in words, numbers with one digit after the point as in the paper."""
    images = "" if row.num_images is None else f"{row.num_images:,}"
    if row.num_images is not None and row.num_expected not in (None, row.num_images):
        images += f" (expected {row.num_expected:,})"
    title = row.title if row.severity is None else f"  {row.title}"
    score = NOT_RUN if row.score is None else f"{row.score:.1f}"
    paper = [_one_digit(row.paper.get(method)) for method in results.paper]
    return [title, score, _one_digit(row.clean), _one_digit(row.drop), images, *paper]


def _one_digit(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def footer(results: Results) -> list[str]:
    """Return the lines below the tables: how each benchmark was scored, or why not, and what the scores depend on."""
    rows = table_rows(results, weights_of(results)[0])
    lines = [f"{row.title}: {row.convention}" for row in rows if row.severity is None and row.convention]
    told: dict[str, list[str]] = {}
    for key in [CLEAN, *(key for one in results.benchmarks for key in one.keys)]:
        for remark in results.passes[key].remarks if key in results.passes else ():
            told.setdefault(remark, []).append(key)
    lines += [f"{shorten(keys, 4)}: {remark}" for remark, keys in told.items()]
    return [*lines, *(f"{name}: {text}" for name, text in results.notes.items())]


def csv_table(results: Results) -> tuple[list[str], Iterator[list]]:
    """Return header and rows for a spreadsheet, of all weights, numbers in full."""
    header = ["weights", "benchmark", "severity", "top1", "clean_top1", "drop", "images", "images_expected"]
    header += ["clean_images", "convention", *paper_columns(results)]
    return header, _csv_rows(results)


def _csv_rows(results: Results) -> Iterator[list]:
    for weights in weights_of(results):
        for row in table_rows(results, weights):
            numbers = [row.score, row.clean, row.drop]
            counts = [row.num_images, row.num_expected, row.num_clean]
            paper = [row.paper.get(method) for method in results.paper]
            shown = [NOT_RUN if row.score is None else f"{row.score:.4f}"]
            shown += ["" if number is None else f"{number:.4f}" for number in numbers[1:]]
            yield [weights, row.benchmark, row.severity, *shown, *counts, row.convention, *paper]


def markdown(results: Results) -> str:
    """Return the tables of all weights as Markdown, each with its footer."""
    parts = ["# Robustness", ""]
    for weights in weights_of(results):
        if WEIGHTS[weights]:
            parts += [f"## {WEIGHTS[weights].capitalize()}", ""]
        lines = ([text.replace("  ", _INDENT) for text in cells(row, results)] for row in table_rows(results, weights))
        parts.append(markdown_table(heading(results), lines))
    return "\n".join([*parts, *(f"- {line}" for line in footer(results)), ""])


def severity_scores(results: Results, weights: str) -> dict[str, list[tuple[int, float]]]:
    """Return severity and top-1 in % of each benchmark that has severities, by its title; 0 are the clean images."""
    found: dict[str, list[tuple[int, float]]] = {}
    titles = {one.name: one.title for one in results.benchmarks}
    for row in table_rows(results, weights):
        if row.severity is not None and row.score is not None:
            clean = [] if row.clean is None else [(0, row.clean)]
            found.setdefault(titles[row.benchmark], clean).append((row.severity, row.score))
    return found


def write_tables(results: Results, folder: Path) -> list[Path]:
    """Write `robustness.csv` and `robustness.md` into a folder; return their paths."""
    write_csv(folder / "robustness.csv", *csv_table(results))
    write_whole(folder / "robustness.md", markdown(results).encode())
    return [folder / "robustness.csv", folder / "robustness.md"]
