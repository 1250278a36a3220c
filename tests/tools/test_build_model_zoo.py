"""docs/model_zoo.md: it is what the configs say now, every recipe is in it, and its bytes are those of a store."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

from seitpp.benchmarking.synthetic import make_store
from seitpp.storage import StoreReader

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / "analysis_tools" / "build_model_zoo.py"))
# Other names, ways and sizes of recipes that are there.
NOT_LISTED = {"mtm_vitb", "mtm_vit-base-p16_8xb128-accum4-400e_in1k-tokens"}


@pytest.fixture(scope="module")
def models(repository: Path) -> list[dict]:
    return yaml.safe_load((repository / "configs/seitpp/metafile.yml").read_text())["Models"]


def test_document_is_up_to_date() -> None:
    assert TOOL["main"](["--check"]) == 0, "run tools/analysis_tools/build_model_zoo.py"


def test_every_recipe_is_listed_once(repository: Path, models: list[dict]) -> None:
    leaves = {path.stem for path in (repository / "configs/seitpp").glob("*.py")}
    names = [model["Name"] for model in models]
    assert len(names) == len(set(names))
    assert leaves - NOT_LISTED == {model["Name"] for model in models if "/seitpp/" in model["Config"]}


def test_score_of_the_paper_is_that_of_the_config(repository: Path, models: list[dict]) -> None:
    checked = 0
    for model in models:
        stated = re.search(r"The paper: ([\d.]+) % top-1[.;\n]", (repository / model["Config"]).read_text())
        if stated is not None:
            assert float(stated[1]) == model["Paper"]["Top 1 Accuracy"], model["Name"]
            checked += 1
    assert checked >= 20 + 8 + 8 + 2 + 4 + 4 + 1 - 1  # tables 2, 3, 6, 7, 8, A, B; one config states it in other words


@pytest.mark.parametrize(("values", "classes", "channels"), [(391, 1000, None), (16384, 100, None), (99, 300, 3)])
def test_bytes_are_those_of_a_store(tmp_path: Path, values: int, classes: int, channels: int | None) -> None:
    sizes = {"grid": (4, 5), "codebook_size": values, "channels": channels, "num_classes": classes}
    store = StoreReader(make_store(tmp_path / "store", num_samples=7, **sizes))
    tokens = 20 * (channels or 1)
    written = sum(store.section_bytes[name] for name in ("tokens", "labels", "checksums"))
    assert written == 7 * TOOL["bytes_of_image"](tokens, values, classes)
