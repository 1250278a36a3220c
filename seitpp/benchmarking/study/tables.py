"""The study's tables, from the logs of its runs alone, and the page that shows them."""

import re
from collections.abc import Mapping
from pathlib import Path

from seitpp.benchmarking.study.plan import ABLATION, METHODS, Study
from seitpp.engine.work_folders import DataPlaces, Entry, compare_runs
from seitpp.engine.work_folders.finding import config_of_run
from seitpp.engine.work_folders.scores import read_score
from seitpp.io.atomic_write import write_whole
from seitpp.io.text import markdown_table
from seitpp.visualization.curves import read_scalars

_KEY = "accuracy/top1"
_SEED = re.compile(r"-seed\d+$")
_MISSING = "not run"


def validation_score(folder: Path) -> float | None:
    """Return a run's last top-1 on held-out images in per cent; None where it has none yet."""
    try:
        score, _ = read_score(folder, config_of_run(folder), read_scalars(folder), _KEY, "last")
    except (FileNotFoundError, ValueError):
        return None
    return None if score is None else score.value


def choose_rates(study: Study) -> dict[tuple[str, float], float]:
    """Return the rate of each method at each share: the best of the nearer share that rates were tried at.

    Raises:
        ValueError: None of the rates of a method was scored.
    """
    tried = sorted({study.size.fractions[0], study.size.fractions[-1]})
    best = {(name, fraction): _best_rate(study, name, fraction) for name in METHODS for fraction in tried}
    return {
        (name, fraction): best[name, min(tried, key=lambda one: abs(one - fraction))]
        for name in METHODS
        for fraction in study.size.fractions
    }


def _best_rate(study: Study, name: str, fraction: float) -> float:
    scores = {rate: validation_score(study.rate_folder(name, fraction, rate)) for rate in study.size.rates}
    scores = {rate: score for rate, score in scores.items() if score is not None}
    if not scores:
        folder = study.rate_folder(name, fraction, study.size.rates[0]).parent
        raise ValueError(f"no rate of {name} was scored in {folder}; run the step of the rates first")
    return max(scores, key=lambda rate: (scores[rate], -rate))


def make_tables(study: Study) -> dict[str, str]:
    """Return the tables in Markdown by name; cells of runs that have no score say so."""
    entries = _entries(study)
    return {
        "scores": _score_table(study, entries),
        "storage": _storage_table(study, entries),
        "adapts": _adapt_table(study, entries),
        "rates": _rate_table(study),
    }


def write_page(page: Path, tables: Mapping[str, str]) -> None:
    """Put the tables between their marks in a page: `<!-- table: NAME -->` and `<!-- end of table -->`.

    Raises:
        ValueError: The page has no marks of a table.
    """
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, end = f"<!-- table: {name} -->\n", "<!-- end of table -->"
        before, found, rest = text.partition(start)
        _, also, after = rest.partition(end)
        if not (found and also):
            raise ValueError(f"{page} has no place for the table {name}: no lines {start.strip()} and {end}")
        text = f"{before}{start}\n{table}\n{end}{after}"
    write_whole(page, text.encode())


def _entries(study: Study) -> dict[str, Entry]:
    """Return a row per method and share, of all its seeds, by the name of its folders without the seed."""
    folders = sorted(path.parent for path in (study.out / "scores").glob("*/metrics.json"))
    if not folders:
        return {}
    found = compare_runs(folders, DataPlaces(), key=_KEY, group=_SEED)
    return {entry.name.split("/")[-1]: entry for entry in found.entries}


def _name(study: Study, method: str, fraction: float) -> str:
    return _SEED.sub("", study.score_folder(method, fraction, 0).name)


def _cell(entry: Entry | None, seeds: int) -> str:
    """Return mean and deviation, and how many seeds they are of where that is not all."""
    if entry is None or entry.score is None:
        return _MISSING
    spread = "" if entry.spread is None else f" +- {entry.spread:.1f}"
    count = len(entry.scores)
    return f"{entry.score:.1f}{spread}" + (f" ({count} of {seeds} seeds)" if count < seeds else "")


def _score_table(study: Study, entries: Mapping[str, Entry]) -> str:
    fractions = study.size.fractions
    rows = [
        [method.title, *(_cell(entries.get(_name(study, name, fraction)), study.size.seeds) for fraction in fractions)]
        for name, method in METHODS.items()
    ]
    return markdown_table(["top-1 (%) on the test images", *(f"{100 * one:g} %" for one in fractions)], rows)


def _storage_table(study: Study, entries: Mapping[str, Entry]) -> str:
    rows = []
    for name, title in (("pixels", "pixels"), ("seit", "tokens")):
        for fraction in study.size.fractions:
            entry = entries.get(_name(study, name, fraction))
            cells = [_MISSING] * 4
            if entry is not None and entry.num_bytes is not None:
                codes = "-" if entry.num_code_bytes is None else f"{entry.num_code_bytes / entry.num_images:.1f}"
                per_image = f"{entry.num_bytes / entry.num_images:.1f}"
                cells = [f"{entry.num_images:,}", f"{entry.num_bytes:,}", per_image, codes]
            rows.append([f"{title}, {100 * fraction:g} %", *cells])
    return markdown_table(["training data", "images", "bytes", "bytes per image", "of these codes"], rows)


def _adapt_table(study: Study, entries: Mapping[str, Entry]) -> str:
    largest = study.size.fractions[0]
    cells = {
        name: _cell(entries.get(_name(study, name, largest)), study.size.seeds)
        for name in ("seit", *ABLATION, "seitpp")
    }
    rows = [
        ["without TokenAdapt", cells["seit"], cells["coloradapt"]],
        ["with TokenAdapt", cells["tokenadapt"], cells["seitpp"]],
    ]
    return markdown_table(["top-1 (%)", "without ColorAdapt", "with ColorAdapt"], rows)


def _rate_table(study: Study) -> str:
    rows = []
    for name, method in METHODS.items():
        for fraction in dict.fromkeys((study.size.fractions[0], study.size.fractions[-1])):
            scores = [validation_score(study.rate_folder(name, fraction, rate)) for rate in study.size.rates]
            cells = [_MISSING if score is None else f"{score:.1f}" for score in scores]
            rows.append([f"{method.title}, {100 * fraction:g} %", *cells])
    return markdown_table(["top-1 (%) held out", *(f"{rate:g}" for rate in study.size.rates)], rows)
