"""Tables in the terminal: sides of columns, rows longer than a window, and text that looks like markup."""

import pytest

from seitpp.io.tables import print_table


def test_rows_stay_whole_with_numbers_at_the_right(capsys: pytest.CaptureFixture) -> None:
    print_table(["run", "top-1", "data"], [["[red]a", "9.5", "b" * 300], ["c", "10.25", "d"]], "title", words=["data"])
    title, header, first, second = capsys.readouterr().out.splitlines()
    assert title.strip() == "title" and header.split() == ["run", "top-1", "data"]
    assert first.rstrip() == f" [red]a    9.5  {'b' * 300}" and second.rstrip() == " c       10.25  d"
