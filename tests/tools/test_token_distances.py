"""`tools/analysis_tools/token_distances.py`: copies are nearer than other crops."""

import re

import pytest

from helpers.tools import tool_main


@pytest.mark.slow
def test_copies_are_nearer_than_other_crops(capsys: pytest.CaptureFixture) -> None:
    assert tool_main("analysis_tools/token_distances.py")(["--patch-size", 16, "--codes", 8, "--crops", 8]) == 0
    rows = re.findall(r"│ (.+?) +│ +([\d.]+)% +│ +([\d.]+)% +│ +([\d.]+)% +│", capsys.readouterr().out)
    medians = {name: float(median) for name, median, _, _ in rows}
    assert len(medians) == 8
    assert max(medians[f"JPEG, quality {quality}"] for quality in (95, 75, 50)) < 10 < 40 < medians["other crops"]
