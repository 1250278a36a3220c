"""Which benchmarks a classifier is scored on: a config's `robustness`, and a pass over images for each severity."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seitpp.ingest.sources.files import join
from seitpp.ingest.sources.merged import paths_of
from seitpp.io.text import did_you_mean, nearest_names, shorten, shown

CLEAN = "clean"
_KEYS = ("data_root", "clean", "imagenet_c", "benchmarks", "paper")
_BENCHMARK_KEYS = (
    "title",
    "source",
    "layout",
    "corruption",
    "severities",
    "border",
    "candidates",
    "subset",
    "num_expected",
)
_CLEAN_KEYS = ("source", "split", "root", "classes_file", "num_expected")
_LAYOUTS = ("folders", "imagenet_r", "imagenet_sketch", "objectnet")
_SEVERITIES = range(1, 6)


@dataclass(frozen=True)
class Pass:
    """One pass over images: a benchmark, or one severity of it.

    Attributes:
        benchmark: Its name.
        severity: 1 to 5, or None.
        source: What `open_image_source` opens.
        layout: Name of the benchmark's layout, see `seitpp.ingest.sources.benchmarks`.
        options: Further options of the data set: `split`, `border`, `corruption` and so on.
        candidates: Which classes compete, see `seitpp.MatchedAccuracy`.
        subset: Whether class folders may be missing.
        num_expected: Images that the benchmark should have, where its layout does not know.
    """

    benchmark: str
    source: str
    severity: int | None = None
    layout: str = "folders"
    options: dict[str, Any] = field(default_factory=dict)
    candidates: str = "all"
    subset: bool = False
    num_expected: int | None = None

    @property
    def key(self) -> str:
        """Name of its result."""
        return self.benchmark if self.severity is None else f"{self.benchmark}/{self.severity}"

    @property
    def knows_own_classes(self) -> bool:
        """Whether it has its own rule for which of ImageNet's classes are meant."""
        return self.layout != "folders"


@dataclass(frozen=True)
class Benchmark:
    """A row of the table, with one pass per severity where it has severities."""

    name: str
    title: str
    severities: tuple[int, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Names of the results of its passes."""
        return [f"{self.name}/{severity}" for severity in self.severities] or [self.name]


@dataclass
class Plan:
    """What to run.

    Attributes:
        benchmarks: All that were asked for, in the order of the table.
        passes: What can be run, the clean images first.
        absent: Why a benchmark cannot be run, by its name.
        required: Benchmarks that were named, of which none may be absent.
        paper: Top-1 in % by method, then by benchmark.
    """

    benchmarks: list[Benchmark]
    passes: list[Pass]
    absent: dict[str, str]
    required: Collection[str]
    paper: dict[str, dict[str, float]]

    @property
    def clean(self) -> Pass | None:
        """The pass over clean images."""
        return next((one for one in self.passes if one.benchmark == CLEAN), None)

    def leave_out(self, name: str, reason: str) -> None:
        """Take a benchmark out, or raise `ValueError` with the reason if it was asked for by name."""
        if name in self.required:
            raise ValueError(f"--only {name}: {reason}")
        self.absent[name] = reason
        self.passes = [one for one in self.passes if one.benchmark != name]
        if not self.passes:
            raise ValueError(f"there is nothing to run: {'; '.join(dict.fromkeys(self.absent.values()))}")


def read_plan(
    section: Mapping[str, Any],
    *,
    clean: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    imagenet_c: str | None = None,
    candidates: str | None = None,
    order: str = "input",
    seed: int = 0,
) -> Plan:
    """Read a config's `robustness`, and find out which of its data are there.

    Args:
        section: As in configs/_base_/evaluation/robustness_in1k.py.
        clean: The clean images in place of the config's: `source`, and `split`, `root` or `classes_file`.
        only: Names of benchmarks to run, whose data must be there; all by default, those without data left out.
        imagenet_c: Folder of the corrupted images that were published, in place of the config's.
        candidates: Which classes compete on ObjectNet (`matched` or `all`), in place of the config's.
        order: Of corruption and resizing, see `seitpp.images.corruptions`.
        seed: Of the noise.

    Raises:
        ValueError: The section or an option means nothing; the message names what would.
        FileNotFoundError: None of the data are there, or none of a benchmark in `only`.
    """
    _check_keys(section, _KEYS, "robustness")
    entries = dict(section.get("benchmarks") or {})
    for name in only or ():
        if name not in (*entries, CLEAN):
            raise ValueError(
                f"--only {name}: the config has no such benchmark{did_you_mean(nearest_names(name, entries))}; "
                f"it has {shorten([CLEAN, *entries])}"
            )
    for name, entry in entries.items():
        _check_benchmark(name, entry)
    root = str(section.get("data_root") or "")
    given, chosen = dict(section.get(CLEAN) or {}), [name for name in entries if only is None or name in only]
    _check_keys(given, _CLEAN_KEYS, "robustness.clean")
    given = _joined(given, root) if clean is None else dict(clean)
    folder = imagenet_c or (section.get("imagenet_c") and join(root, section["imagenet_c"]))
    corruption = {"seed": seed, "order": order}
    passes = _clean_passes(given)
    for name in chosen:
        entry = dict(entries[name])
        if candidates is not None and entry.get("layout") == "objectnet":
            entry["candidates"] = candidates
        passes += _passes(name, entry, root, given, folder, corruption)
    benchmarks = [_benchmark(name, entries[name]) for name in chosen]
    paper = {method: dict(scores) for method, scores in (section.get("paper") or {}).items()}
    plan = Plan(benchmarks, passes, {}, frozenset(only or ()), paper)
    _leave_out_missing(plan, is_clean_given=clean is not None)
    return plan


def _check_keys(node: Any, known: Sequence[str], where: str) -> None:
    if not isinstance(node, Mapping):
        raise ValueError(f"the config's {where} is {shown(node)}, expected a dict")
    for key in node:
        if key not in known:
            meant = did_you_mean(nearest_names(str(key), known)) or f"; it has {', '.join(known)}"
            raise ValueError(f"the config has {where}.{key}, which nothing reads{meant}")


def _check_benchmark(name: str, entry: Any) -> None:
    where = f"robustness.benchmarks.{name}"
    if name == CLEAN or "/" in name:
        raise ValueError(f"{where}: a benchmark is called otherwise than {CLEAN}, and without a slash; rename it")
    _check_keys(entry, _BENCHMARK_KEYS, where)
    if entry.get("layout", "folders") not in _LAYOUTS:
        raise ValueError(f"{where}.layout is {shown(entry['layout'])}, expected one of {', '.join(_LAYOUTS)}")
    severities = entry.get("severities") or []
    if any(one not in _SEVERITIES for one in severities) or len(set(severities)) < len(severities):
        raise ValueError(f"{where}.severities is {shown(severities)}, expected different numbers of 1 to 5")
    if entry.get("candidates", "all") not in ("matched", "all"):
        raise ValueError(f"{where}.candidates is {shown(entry['candidates'])}, expected 'matched' or 'all'")
    if (entry.get("corruption") is None) == (entry.get("source") is None):
        raise ValueError(f"{where} needs either a source of images or a corruption of the clean ones")
    if entry.get("corruption") is not None and not severities:
        raise ValueError(f"{where} is a corruption without severities; give it such as severities=[1, 2, 3, 4, 5]")


def _joined(options: dict[str, Any], root: str) -> dict[str, Any]:
    """Return options with paths relative to a folder; a source may be several with commas between them."""
    paths = {key: join(root, options[key]) for key in ("root", "classes_file") if options.get(key) is not None}
    source = options.get("source")
    if source is not None:
        paths["source"] = ",".join(join(root, one) for one in paths_of(str(source)))
    return {**options, **paths}


def _clean_passes(given: Mapping[str, Any]) -> list[Pass]:
    if given.get("source") is None:
        return []
    options = {key: given[key] for key in ("split", "root", "classes_file") if given.get(key) is not None}
    return [Pass(CLEAN, given["source"], options=options, subset=True, num_expected=given.get("num_expected"))]


def _benchmark(name: str, entry: Mapping[str, Any]) -> Benchmark:
    return Benchmark(name, str(entry.get("title", name)), tuple(entry.get("severities") or ()))


def _passes(
    name: str,
    entry: Mapping[str, Any],
    root: str,
    clean: Mapping[str, Any],
    imagenet_c: str | None,
    corruption: Mapping[str, Any],
) -> list[Pass]:
    """Return the passes of one benchmark."""
    kind, layout = entry.get("corruption"), entry.get("layout", "folders")
    candidates = entry.get("candidates", "matched" if layout in ("imagenet_r", "objectnet") else "all")
    shared = {"layout": layout, "candidates": candidates, "num_expected": entry.get("num_expected")}
    shared["subset"] = entry.get("subset", kind is not None)  # corrupted images are of the classes of the clean ones
    options = {"border": entry["border"]} if "border" in entry else {}
    if kind is None:
        source = _joined(dict(entry), root)["source"]
        if not entry.get("severities"):
            return [Pass(name, source, options=options, **shared)]
        return [Pass(name, join(source, str(one)), one, options=options, **shared) for one in entry["severities"]]
    shared["num_expected"] = entry.get("num_expected", clean.get("num_expected"))
    if imagenet_c is not None:
        return [
            Pass(name, join(imagenet_c, f"{kind}/{one}"), one, options=options, **shared) for one in entry["severities"]
        ]
    found = []
    for base in _clean_passes(clean):
        for one in entry["severities"]:
            own = {**base.options, **options, "corruption": {"kind": kind, "severity": one, **corruption}}
            found.append(Pass(name, base.source, one, options=own, **shared))
    return found


def _leave_out_missing(plan: Plan, is_clean_given: bool) -> None:
    """Take out what has no data, and refuse a plan of which nothing is left."""
    wanted = [CLEAN, *(one.name for one in plan.benchmarks)]
    sources = {name: [one.source for one in plan.passes if one.benchmark == name] for name in wanted}
    for name in wanted:
        missing = next((one for one in sources[name] if not _is_there(one)), None)
        if sources[name] and missing is None:
            continue
        reason = f"{missing} does not exist" if missing else "there are no clean images"
        if name in plan.required or (name == CLEAN and is_clean_given):
            option = "--images" if name == CLEAN else f"--only {name}"
            raise FileNotFoundError(f"{option}: {reason}; docs/benchmarks.md says how to get and lay out the data")
        plan.absent[name] = reason
    plan.passes = [one for one in plan.passes if one.benchmark not in plan.absent]
    if not plan.passes:
        looked_for = dict.fromkeys(one for name in wanted for one in sources[name])
        raise FileNotFoundError(
            f"none of the benchmarks' data are there; looked for {shorten(looked_for, 20)}. docs/benchmarks.md says "
            "how to get and lay them out; --images SOURCE scores on images of your own"
        )


def _is_there(source: str) -> bool:
    """Return whether there is something at a path; of URLs and patterns only opening them can tell."""
    return all("://" in one or "*" in one or "{" in one or Path(one).exists() for one in paths_of(source))
