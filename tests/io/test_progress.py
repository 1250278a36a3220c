"""Progress bars: what a person sees of a long run."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress, Task

from seitpp.io import progress


def shown(bar: Progress) -> str:
    file = io.StringIO()
    Console(file=file, width=160).print(bar.get_renderable())
    return file.getvalue()


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """The bars that are opened, with a clock that gains ten seconds at each look."""
    opened: list[Progress] = []

    class Recorded(Progress):
        def __init__(self, *args: object, **options: object) -> None:
            ticks = iter(range(0, 1_000_000, 10))
            super().__init__(*args, **{**options, "get_time": lambda: float(next(ticks)), "auto_refresh": False})
            opened.append(self)

    monkeypatch.setattr(progress, "Progress", Recorded)
    return opened


def test_bar_shows_count_rate_and_time_left(bars: list[Progress]) -> None:
    with progress.progress_bar("tokenizing", unit="images") as advance:
        for done in (0, 100, 200, 300):
            advance(done, 1000)
        text = shown(bars[0])
    assert "tokenizing" in text and "300/1000" in text and "images/s" in text
    assert any(part.count(":") == 2 and part != "-:--:--" for part in text.split())


def test_bar_without_a_unit_shows_no_rate(bars: list[Progress]) -> None:
    with progress.progress_bar("converting") as advance:
        advance(1, 2)
        assert "/s" not in shown(bars[0])


def test_rate_is_of_images_per_second(bars: list[Progress]) -> None:
    with progress.progress_bar("tokenizing", unit="images") as advance:
        for done in (0, 1000, 5000):
            advance(done, 10_000)
        task: Task = bars[0].tasks[0]
        rate = progress._RateColumn("images").render(task)
    assert task.speed is not None and rate.plain == f"{task.speed:,.1f} images/s"


def test_rate_is_blank_before_anything_was_done(bars: list[Progress]) -> None:
    with progress.progress_bar("tokenizing", unit="images"):
        assert progress._RateColumn("images").render(bars[0].tasks[0]).plain == ""


def test_only_the_first_process_shows_a_bar(bars: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "is_main_process", lambda: False)
    with progress.progress_bar("decoding") as advance:
        advance(1, 2)
    assert not bars
