"""Progress bars with an estimate of the time left, for work that a person waits for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
from rich.text import Text


class _RateColumn(ProgressColumn):
    """Work done per second, over the last half minute."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.1f} {self._unit}/s", style="progress.data.speed")


@contextmanager
def progress_bar(description: str, unit: str | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on the error stream of the first process; yield a function to call with the work done and its total.

    `unit` is what is counted, to show how many per second; None shows no rate.
    """
    if not is_main_process():
        yield lambda done, total: None
        return
    rate = () if unit is None else (_RateColumn(unit),)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), *rate, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
