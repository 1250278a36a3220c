"""docs/model_zoo.md: it is what the configs say now, every recipe is in it, and its bytes are those of a store."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

from seitpp.benchmarking.synthetic import make_store
from seitpp.storage import StoreReader

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / "analysis_tools" / "build_model_zoo.py"))
METAFILES = (
    "mtm",
    "pixels",
    "representations",
    "robustness",
    "segmentation",
    "seit",
    "seitpp",
    "tokenadapt",
    "tokenizers",
)


@pytest.fixture(scope="module")
def models(repository: Path) -> list[dict]:
    files = [repository / "configs" / folder / "metafile.yml" for folder in METAFILES]
    return [model for file in files for model in yaml.safe_load(file.read_text())["Models"]]


def test_document_is_up_to_date() -> None:
    assert TOOL["main"](["--check"]) == 0, "run tools/analysis_tools/build_model_zoo.py"


def test_every_recipe_is_listed_once(repository: Path, models: list[dict]) -> None:
    """But for the short name and the tokenizers that nothing here trains."""
    paths = [path for folder in METAFILES for path in (repository / "configs" / folder).glob("*.py")]
    names = [model["Name"] for model in models]
    assert len(names) == len(set(names))
    leaves = {path.stem for path in paths if path.parent.name != "tokenizers" or "xb" in path.stem}
    assert leaves - {"mtm_vitb"} == set(names)


def test_every_cell_of_the_paper_has_a_row(models: list[dict]) -> None:
    """Tables 1 (pixels), 2 (four methods, five sizes), 3, 4, 5, 6, 7, 8, A and B."""
    rows = [row for model in models for row in model.get("Zoo Rows", [])]
    scored = [row for row in rows if "Top 1 Accuracy" in row or "mIoU" in row]
    assert len(scored) == 4 + 20 + 8 + 2 + 10 + 8 + 2 + 4 + 4 + 1
    counts = {table: sum(row["Table"] == table for row in rows) for table in TOOL["TABLES"]}
    assert counts == {
        "1": 4,
        "2": 30,
        "3": 8,
        "4": 2,
        "5": 10,
        "6": 8,
        "7": 2,
        "8": 6,
        "A": 9,
        "B": 1,
        "3b": 3,
        "-": 5,
        "small": 11,
    }


def test_score_of_the_paper_is_that_of_the_config(repository: Path, models: list[dict]) -> None:
    checked = 0
    for model in models:
        stated = re.search(r"The paper: ([\d.]+) % top-1[.;\n]", (repository / model["Config"]).read_text())
        if stated is not None:
            assert float(stated[1]) == model["Zoo Rows"][0]["Top 1 Accuracy"], model["Name"]
            checked += 1
    assert checked >= 4 + 8 + 2 + 2 + 4 + 1 - 1  # tables 2, 3, 6, 7, 8, B; one config states it in other words


@pytest.mark.parametrize(("values", "classes", "channels"), [(391, 1000, None), (16384, 100, None), (99, 300, 3)])
def test_bytes_are_those_of_a_store(tmp_path: Path, values: int, classes: int, channels: int | None) -> None:
    sizes = {"grid": (4, 5), "codebook_size": values, "channels": channels, "num_classes": classes}
    store = StoreReader(make_store(tmp_path / "store", num_samples=7, **sizes))
    tokens = 20 * (channels or 1)
    written = sum(store.section_bytes[name] for name in ("tokens", "labels", "checksums"))
    assert written == 7 * TOOL["bytes_of_image"](tokens, values, classes)
