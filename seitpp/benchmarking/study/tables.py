"""The study's tables, from the records of its runs alone, and the page that shows them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from seitpp.benchmarking.study.methods import ADAPTS, DCT, ENCODERS, METHODS
from seitpp.benchmarking.study.plan import UNTRAINED, Study
from seitpp.benchmarking.study.records import Run
from seitpp.io.atomic_write import write_whole
from seitpp.io.text import markdown_table

_MISSING = "not run"
_END = "<!-- end of table -->"
Runs = Mapping[str, Run]


def make_tables(study: Study, runs: Runs) -> dict[str, str]:
    """Return the tables of a set of images in Markdown, by their names on the page, such as `cifar-10/scores`."""
    tables: dict[str, Callable[[Study, Runs], str]] = {
        "scores": _scores,
        "storage": _storage,
        "adapts": _adapts,
        "images": _images,
        "dct": _dct,
        "robustness": _robustness,
        "encoders": _encoders,
        "probes": _probes,
        "rates": _rates,
    }
    return {f"{study.set.name}/{name}": make(study, runs) for name, make in tables.items()}


def write_page(page: Path, tables: Mapping[str, str]) -> None:
    """Put the tables between their marks in a page: `<!-- table: NAME -->` and `<!-- end of table -->`.

    Raises:
        ValueError: The page has no marks of a table.
    """
    write_whole(page, filled(page.read_text(encoding="utf-8"), tables, str(page)).encode())


def filled(text: str, tables: Mapping[str, str], source: str) -> str:
    """Return the text of a page with the tables between their marks; raises as `write_page`."""
    for name, table in tables.items():
        start = f"<!-- table: {name} -->\n"
        before, found, rest = text.partition(start)
        _, also, after = rest.partition(_END)
        if not (found and also):
            raise ValueError(f"{source} has no place for the table {name}: no lines {start.strip()} and {_END}")
        text = f"{before}{start}\n{table}\n{_END}{after}"
    return text


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of the rows that have a number, and a line that names the others."""
    shown = [row for row in rows if any(cell != _MISSING for cell in row[1:])]
    left = [row[0] for row in rows if row not in shown]
    if not shown:
        return f"*{_MISSING}*\n"
    return markdown_table(header, shown) + (f"\n*{_MISSING}*: {'; '.join(left)}\n" if left else "")


def _scores(study: Study, runs: Runs) -> str:
    rows = [
        [method.title, *(_tested_cell(study, runs, name, fraction) for fraction in study.fractions)]
        for name, method in METHODS.items()
    ]
    return _table(["top-1 (%) on the test images", *map(_percent, study.fractions)], rows)


def _storage(study: Study, runs: Runs) -> str:
    rows = []
    for name, title in (("pixels", "pixels"), ("seit", "tokens")):
        for fraction in study.fractions:
            sized = [run for run in study.tested(runs, name, fraction) if run.num_bytes is not None]
            cells = [_MISSING] * 4
            if sized:
                run = sized[0]
                codes = "-" if run.num_code_bytes is None else f"{run.num_code_bytes / run.num_images:.1f}"
                per_image = f"{run.num_bytes / run.num_images:.1f}"
                cells = [f"{run.num_images:,}", f"{run.num_bytes:,}", per_image, codes]
            rows.append([f"{title}, {_percent(fraction)}", *cells])
    return _table(["training data", "images", "bytes", "bytes per image", "of these codes"], rows)


def _adapts(study: Study, runs: Runs) -> str:
    cells = {name: _main_cell(study, runs, name) for name in ("seit", *ADAPTS, "seitpp")}
    rows = [
        ["without TokenAdapt", cells["seit"], cells["coloradapt"]],
        ["with TokenAdapt", cells["tokenadapt"], cells["seitpp"]],
    ]
    return _table(["top-1 (%)", "without ColorAdapt", "with ColorAdapt"], rows)


def _images(study: Study, runs: Runs) -> str:
    rows = []
    for images in (None, *sorted(study.size.token_adapt_images, reverse=True)):
        trained = runs.get(study.token_adapt_name(images))
        agreement = None if trained is None else trained.metrics.get("token_adapt/accuracy")
        if images is None:
            cell = _main_cell(study, runs, "seitpp")
        else:
            names = [study.few_images_name(images, seed) for seed in range(study.size.seeds)]
            cell = _cell(study, [runs[name].test for name in names if name in runs and runs[name].test is not None])
        rows.append(["all" if images is None else f"{images:,}", _number(agreement), cell])
    return _table(["images for TokenAdapt", "codes predicted (%)", "SeiT++ w/o MTM, top-1 (%)"], rows)


def _dct(study: Study, runs: Runs) -> str:
    rows = []
    for name, title in (("seit", "VQ"), ("seit-dct", "DCT")):
        sized = [run for run in study.tested(runs, name, study.size.main_share) if run.num_bytes is not None]
        size = f"{sized[0].num_bytes / sized[0].num_images:.1f}" if sized else _MISSING
        others = ["seitpp"] if name == "seit" else [other for other in DCT if other != name]
        rows.append([title, size, *(_main_cell(study, runs, one) for one in (name, *others))])
    return _table(["tokens", "bytes per image", "SeiT, top-1 (%)", "SeiT++ w/o MTM, top-1 (%)"], rows)


def _robustness(study: Study, runs: Runs) -> str:
    columns = ["clean"]
    columns += [f"{kind}/{level}" for kind in ("gaussian_noise", "gaussian_blur") for level in study.size.severities]
    rows = []
    for name, method in METHODS.items():
        run = runs.get(study.robustness_name(name))
        scores = {} if run is None else run.metrics
        rows.append([method.title, *(_number(scores.get(f"robustness/{column}")) for column in columns)])
    titles = [one.removeprefix("gaussian_").replace("/", " ") for one in columns]
    return _table(["top-1 (%), seed 0", *titles], rows)


def _encoders(study: Study, runs: Runs) -> str:
    """Return how well the encoders predict masked codes of held-out images, over seeds."""
    rows = []
    for name, encoder in ENCODERS.items():
        for fraction in study.fractions:
            names = [study.encoder_name(name, fraction, seed) for seed in range(study.size.seeds)]
            found = [runs[one].metrics for one in names if one in runs]
            cells = [
                _cell(study, [one[f"masked_code/{key}"] for one in found if f"masked_code/{key}" in one])
                for key in ("accuracy", "perplexity")
            ]
            rows.append([f"{encoder.title}, {_percent(fraction)}", *cells])
    return _table(["pre-training", "masked codes right (%)", "perplexity"], rows)


def _probes(study: Study, runs: Runs) -> str:
    titles = {name: f"{one.title}, {_percent(study.size.main_share)}" for name, one in ENCODERS.items()}
    rows = []
    for name, title in {**titles, UNTRAINED: "random weights"}.items():
        knn, linear = (runs.get(study.probe_name(kind, name)) for kind in ("knn", "linear"))
        near = None if knn is None else knn.metrics.get("test/k10_accuracy/top1")
        rows.append([title, _number(near), _number(None if linear is None else linear.test)])
    return _table(["frozen encoder", "10 nearest neighbours, top-1 (%)", "linear probe, top-1 (%)"], rows)


def _rates(study: Study, runs: Runs) -> str:
    rows = []
    for fraction in study.rate_fractions:
        for name, method in {**METHODS, **{name: one for name, one in DCT.items() if one.rate_of is None}}.items():
            tried = [runs.get(study.rate_name(name, fraction, rate)) for rate in study.size.rates]
            title = method.title + (", DCT" if method.data == "dct" else "")
            scores = [None if run is None else run.validation for run in tried]
            rows.append([f"{title}, {_percent(fraction)}", *_best_in_bold(scores)])
    return _table(["top-1 (%) held out", *(f"{rate:g}" for rate in study.size.rates)], rows)


def _best_in_bold(scores: Sequence[float | None]) -> list[str]:
    """Return the scores as cells; the best one, where all are there, is what is used."""
    cells = [_number(score) for score in scores]
    if None not in scores:
        best = scores.index(max(scores))
        cells[best] = f"**{cells[best]}**"
    return cells


def _main_cell(study: Study, runs: Runs, method: str) -> str:
    return _tested_cell(study, runs, method, study.size.main_share)


def _tested_cell(study: Study, runs: Runs, method: str, fraction: float) -> str:
    return _cell(study, [run.test for run in study.tested(runs, method, fraction)])


def _cell(study: Study, values: Sequence[float]) -> str:
    """Return mean and deviation over seeds, and how many these are where they are not all."""
    if not values:
        return _MISSING
    spread = f" +- {stdev(values):.1f}" if len(values) > 1 else ""
    count = f" ({len(values)} of {study.size.seeds} seeds)" if len(values) < study.size.seeds else ""
    return f"{mean(values):.1f}{spread}{count}"


def _number(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.1f}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"
