"""Progress: what a person sees of a long run, on a terminal and in a log."""

import io
import time
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.progress import Progress, Task

from seitpp.io import progress


def shown(bar: Progress) -> str:
    file = io.StringIO()
    Console(file=file, width=200).print(bar.get_renderable())
    return file.getvalue()


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """The bars that are opened on a terminal, with a clock that gains ten seconds at each look."""
    opened: list[Progress] = []

    class Recorded(Progress):
        def __init__(self, *args: object, **options: object) -> None:
            ticks = iter(range(0, 1_000_000, 10))
            super().__init__(*args, **{**options, "get_time": lambda: float(next(ticks)), "auto_refresh": False})
            opened.append(self)

    monkeypatch.setattr(progress, "Progress", Recorded)
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=io.StringIO(), force_terminal=True))
    return opened


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the seconds that have passed."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, seconds)


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
        rate = progress._RateColumn().render(task)
    assert task.speed is not None and rate.plain == f"{task.speed:,.1f} images/s"


def test_rate_is_blank_before_anything_was_done(bars: list[Progress]) -> None:
    with progress.progress_bar("tokenizing", unit="images"):
        assert progress._RateColumn().render(bars[0].tasks[0]).plain == ""


def test_count_is_blank_for_work_that_is_not_counted(bars: list[Progress]) -> None:
    with progress.progress_bar("loading"):
        assert "0/?" not in shown(bars[0])


def test_work_within_work_has_a_bar_below(bars: list[Progress]) -> None:
    with progress.progress_bar("opening"):
        with progress.progress_bar("listing", unit="files") as advance:
            advance(7, None)
            text = shown(bars[0])
            assert len(bars) == 1 and text.index("opening") < text.index("listing") and "7/?" in text
        assert "listing" not in shown(bars[0])


def test_only_the_first_process_shows_a_bar(
    bars: list[Progress], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(progress, "is_main_process", lambda: False)
    monkeypatch.setattr(progress, "_PAUSES", (0.0,))
    with progress.progress_bar("decoding") as advance:
        advance(1, 2)
        time.sleep(0.01)
    assert not bars and not capsys.readouterr().err


def test_first_line_of_a_log_comes_within_a_second() -> None:
    assert progress._PAUSES[0] < 1


def test_log_has_a_line_while_one_call_lasts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(progress, "_PAUSES", (0.01, 60.0))
    printed, deadline = "", time.monotonic() + 10
    with progress.progress_bar("loading the tokenizer"):
        while not printed and time.monotonic() < deadline:  # as if in one long call
            time.sleep(0.005)
            printed = capsys.readouterr().err
    assert printed == "loading the tokenizer: 0:00:00 so far\n"


def test_short_work_leaves_no_line(capsys: pytest.CaptureFixture) -> None:
    with progress.progress_bar("loading the tokenizer"):
        pass
    assert not capsys.readouterr().err


def test_line_tells_count_rate_and_time_left(clock: Callable) -> None:
    lines = progress._Lines("tokenizing", "images")
    clock(5)
    lines.advance(1000, 3000)  # which an earlier run did
    clock(15)
    lines.advance(1500, 3000)
    assert lines.line() == "tokenizing: 1,500 of 3,000 images, 50.0 images/s, 0:00:30 left"


def test_line_of_an_unknown_total_tells_the_count(clock: Callable) -> None:
    lines = progress._Lines("listing", "files")
    lines.advance(1000, None)
    clock(10)
    lines.advance(3000, None)
    assert lines.line() == "listing: 3,000 files, 200.0 files/s"


def test_line_of_uncounted_work_tells_the_time(clock: Callable) -> None:
    lines = progress._Lines("loading", None)
    clock(3700)
    assert lines.line() == "loading: 1:01:40 so far"


def test_innermost_work_speaks_in_a_log(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(progress, "_PAUSES", (0.02, 60.0))
    printed, deadline = "", time.monotonic() + 10
    with progress.progress_bar("opening"), progress.progress_bar("listing"):
        while not printed and time.monotonic() < deadline:
            time.sleep(0.005)
            printed += capsys.readouterr().err
        time.sleep(0.05)
    assert "opening" not in printed + capsys.readouterr().err and "listing" in printed
