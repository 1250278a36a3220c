"""`tools/analysis_tools/benchmark_duplicates.py` on tiny stores: what it plants is what it counts."""

import re
from pathlib import Path

import pytest

from helpers.tools import tool_main


def test_planted_images_are_found_within_and_between_stores(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    main = tool_main("analysis_tools/benchmark_duplicates.py")
    assert main(["--images", 400, "--grid", 8, "--store", tmp_path]) == 0
    said = capsys.readouterr().out
    assert "within the store: 400 images of 8 x 8 codes, all pairs" in said
    assert "between the stores: 400 and 40 images" in said
    assert re.findall(r"\(\d+%\) +│ +([\d.]+)% │ +([\d.]+)%", said) == [("100.0", "100.0")] * 14
    assert "largest group 80" in said  # a tenth is blank, and a tenth nearly
