"""A request and the plan made of it: data that are kept in the work folder, and compared with what is asked later."""

import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seitpp.io.atomic_write import write_whole
from seitpp.io.text import shown
from seitpp.workflow.images import open_sources
from seitpp.workflow.setup import METHODS, MODELS, Lengths, known_name

PLAN_FILE = "plan.json"
_FORMAT = 1


@dataclass(frozen=True)
class Request:
    """What a person asked for; all that decides about the result."""

    source: str
    val: str | None = None
    tokenizer: str | None = None
    image_size: int | None = None
    model: str = "tiny"
    method: str = "seit"
    minutes: float = 5.0

    def __post_init__(self) -> None:
        known_name(self.model, list(MODELS), "--model")
        known_name(self.method, list(METHODS), "--method")
        if not 0 < self.minutes < 1e6:
            raise ValueError(f"--minutes is {self.minutes}, expected a positive number of minutes")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"--image-size is {self.image_size}, expected a positive number of pixels")

    def options(self) -> list[str]:
        """Return the options of the command line that say the same."""
        words = []
        for name, value in asdict(self).items():
            if name != "source" and value is not None and value != getattr(type(self), name):
                words += [f"--{name.replace('_', '-')}", f"{value:g}" if isinstance(value, float) else str(value)]
        return words


@dataclass(frozen=True)
class Step:
    """One command of a plan."""

    name: str  # of its log, and of its work folder where it trains
    what: str
    command: list[str]  # words, of which the first is `python`
    output: str  # file or folder that is there when it has run
    seconds: float  # estimated

    @property
    def line(self) -> str:
        """The command as it is typed."""
        return shlex.join(self.command)


@dataclass(frozen=True)
class Plan:
    """Everything that the work folder of a request is made by; kept in `plan.json` there."""

    out: str
    request: Request
    images_sha256: list[str]  # of the names and labels of both sources
    facts: dict[str, Any]  # of images and sizes, for the report
    lengths: Lengths
    steps: list[Step]
    configs: dict[str, str]  # name to text as it was written; a person may have changed the file since
    notes: list[str]  # what a person should know before it starts

    def save(self) -> None:
        """Write the configs, then the plan: a folder without a plan is begun anew."""
        for name, text in self.configs.items():
            write_whole(Path(self.out, "configs", f"{name}.py"), text.encode())
        content = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)
        write_whole(Path(self.out, PLAN_FILE), content.encode() + b"\n")

    def overview(self) -> str:
        """Return a table of the steps, with the command of each in a line of its own that can be copied."""
        total = sum(step.seconds for step in self.steps)
        rows = [(f"{number}. {step.what}", duration(step.seconds), step.output) for number, step in self.numbered()]
        rows.append(("all", duration(total), f"{self.out}/report.html"))
        widths = [max(len(row[column]) for row in (*rows, ("step", "about", ""))) for column in (0, 1)]
        lines = [f"{'step':<{widths[0]}}  {'about':>{widths[1]}}  output"]
        for (what, about, output), step in zip(rows, [*self.steps, None], strict=True):
            lines.append(f"{what:<{widths[0]}}  {about:>{widths[1]}}  {output}")
            if step is not None:
                lines.append(f"   $ {step.line}")
        return "\n".join(lines)

    def numbered(self) -> list[tuple[int, Step]]:
        """Return the steps with their numbers, from 1 on."""
        return list(enumerate(self.steps, 1))


def duration(seconds: float) -> str:
    """Write seconds as `40 s`, `12 min` or `3.1 h`."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def read_plan(out: str) -> Plan | None:
    """Return the plan of a work folder; None for a new one.

    Raises:
        ValueError: The folder holds other things, or a plan that is damaged.
    """
    path = Path(out, PLAN_FILE)
    if not path.is_file():
        others = [one.name for one in Path(out).iterdir()] if Path(out).is_dir() else []
        others = sorted(name for name in others if name not in ("configs", "data") and not name.startswith("."))
        if others:
            raise ValueError(f"{out} holds {others[0]} and no {PLAN_FILE}, so it is no work folder; name a new folder")
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("another version of this tool wrote it")
        content["request"] = Request(**content["request"])
        content["lengths"] = Lengths(**content["lengths"])
        content["steps"] = [Step(**step) for step in content["steps"]]
        return Plan(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); name another folder, or remove {out} to begin anew") from error


def check_same_request(plan: Plan, request: Request, out: str, tools: str) -> None:
    """Refuse a request, or images, other than those of the plan, and say what differs."""
    before, now = asdict(plan.request), asdict(request)
    differences = [f"{name.replace('_', '-')} {shown(before[name])}, not {shown(now[name])}" for name in now]
    differences = [text for name, text in zip(now, differences, strict=True) if before[name] != now[name]]
    command = shlex.join(["python", f"{tools}/train_on_images.py", plan.request.source, plan.out])
    line = " ".join([command, *plan.request.options()])
    if differences:
        raise ValueError(
            f"{out} is the work folder of another run, with {'; '.join(differences)}. Name another folder, or "
            f"continue that run with: {line}"
        )
    if Path(plan.out).resolve() != Path(out).resolve():
        raise ValueError(
            f"{out} was made as {plan.out}, to which its configs lead; move it back, or name another folder"
        )
    if [source.fingerprint() for source in open_sources(request.source, request.val)] != plan.images_sha256:
        raise ValueError(
            f"the images of {request.source} are not those that {out} was begun with: some were added, removed or "
            "renamed. Name a new folder to begin anew"
        )
