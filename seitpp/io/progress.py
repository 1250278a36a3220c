"""Progress with an estimate of the time left, for work that a person waits for.

On a terminal it is a bar, which begins at once. Elsewhere, as in the log of a cluster, it is a line now and then, the
first one within a second. Both are drawn by a thread, so that one long call leaves nobody in doubt.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.text import Text

Advance = Callable[[int, "int | None"], None]
"""Called with the work done and its total, None where that is not known yet."""

# Seconds before each line where there is no terminal: work of half a second says nothing.
_PAUSES = (0.5, 9.5, 20.0, 30.0)
_LATER_PAUSE = 60.0


class _RateColumn(ProgressColumn):
    """Work done per second, over the last half minute; nothing for work without a unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit")
        shown = "" if task.speed is None or unit is None else f"{task.speed:,.1f} {unit}/s"
        return Text(shown, style="progress.data.speed")


class _CountColumn(MofNCompleteColumn):
    """Work done and its total; nothing for work that is not counted."""

    def render(self, task: Task) -> Text:
        return Text("") if task.total is None and not task.completed else super().render(task)


class _Lines:
    """Lines on the error stream for one piece of work, at growing intervals; the innermost of several speaks."""

    open: "list[_Lines]" = []

    def __init__(self, description: str, unit: str | None) -> None:
        self._description, self._unit = description, unit or ""
        self._done = 0
        self._total: int | None = None
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None  # when it was first told of work done, and how much
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print, daemon=True)

    def __enter__(self) -> "_Lines":
        self.open.append(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open.remove(self)
        self._ended.set()
        self._thread.join()

    def advance(self, done: int, total: int | None) -> None:
        if self._first is None:  # what an earlier run did says nothing of the speed
            self._first = time.monotonic(), done
        self._done, self._total = done, total

    def line(self) -> str:
        """Say how far the work is: `tokenizing: 1,200 of 50,000 images, 85.3 images/s, 0:09:32 left`."""
        now = time.monotonic()
        parts = []
        if self._total is not None:
            parts.append(f"{self._done:,} of {self._total:,} {self._unit}".rstrip())
        elif self._done:
            parts.append(f"{self._done:,} {self._unit}".rstrip())
        began, before = self._first or (now, 0)
        if (recent := self._done - before) > 0 and now > began:
            rate = recent / (now - began)
            if self._unit:
                parts.append(f"{rate:,.1f} {self._unit}/s")
            if self._total is not None:
                parts.append(f"{_clock((self._total - self._done) / rate)} left")
        return f"{self._description}: {', '.join(parts or [f'{_clock(now - self._began)} so far'])}"

    def _print(self) -> None:
        for pause in chain(_PAUSES, repeat(_LATER_PAUSE)):
            if self._ended.wait(pause):
                return
            if self.open[-1:] == [self]:
                print(self.line(), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


_bars: list[Progress] = []  # of this process, the one on the terminal


@contextmanager
def progress_bar(description: str, unit: str | None = None) -> Iterator[Advance]:
    """Show progress on the error stream of the first process; yield a function to call with work done and its total.

    Work that is part of other work gets its own bar below that one's.

    Args:
        description: What is being done.
        unit: What is counted, to show how many per second; None shows no rate.
    """
    if not is_main_process():
        yield lambda done, total: None
    elif _bars:
        task = _bars[-1].add_task(description, total=None, unit=unit)
        try:
            yield _advance_of(_bars[-1], task)
        finally:
            _bars[-1].remove_task(task)
    elif (console := Console(stderr=True)).is_terminal:
        columns = (*Progress.get_default_columns(), _CountColumn(), _RateColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            _bars.append(bar)
            try:
                yield _advance_of(bar, bar.add_task(description, total=None, unit=unit))
            finally:
                _bars.remove(bar)
    else:
        with _Lines(description, unit) as lines:
            yield lines.advance


def _advance_of(bar: Progress, task: int) -> Advance:
    return lambda done, total: bar.update(task, completed=done, total=total)
