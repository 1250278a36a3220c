"""`tools/analysis_tools/cost_table.py`: what it counts, by hand, and ratios of rounds in which configs take turns."""

import csv
import json
import runpy
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config

from helpers.tools import TOOLS, tool_main
from seitpp.benchmarking import costs
from seitpp.benchmarking.complexity import complexities
from seitpp.benchmarking.synthetic import make_store
from seitpp.io.config_file import read_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DIGITS = [
    CONFIGS / "seit" / "seit_vit-tiny-p2_1xb64-60e_digits-tokens.py",
    CONFIGS / "seitpp" / "seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py",
]
TOKEN_ADAPT = CONFIGS / "tokenadapt" / "tokenadapt_d64_1xb64-40e_digits-8px.py"


def crop(side: int) -> int:
    """Multiply-adds of resizing rows and columns of a map of 4 channels, as matrix products."""
    return 2 * 4 * side**3


def test_parameters_and_operations_are_those_counted_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = make_store(tmp_path / "store", 8, grid=(4, 4), codebook_size=64, code_dim=4, num_classes=10)
    files = [tmp_path / f"costs.{suffix}" for suffix in ("json", "csv", "md")]
    line = [*DIGITS, "--store", store, "--batch-size", 4, "--rounds", 1, "--out", *files]
    assert tool_main("analysis_tools/cost_table.py")(line) == 0
    printed = capsys.readouterr().out
    found = json.loads(files[0].read_text())
    seit, seitpp = found["rows"]
    blocks, stem, head = 3 * (12 * 64**2 * 17 + 2 * 64 * 17**2), 16 * 64 * 4 * 3 * 3, 64 * 10
    # Backward, everything once for its weights and once for its inputs, which the first layer does not need.
    assert seit["network_multiply_adds"] == 3 * (blocks + stem + head) - stem
    assert (
        seit["trained_parameters"] == seitpp["trained_parameters"] == complexities(read_config(DIGITS[0]))[0].parameters
    )
    there, back = complexities(read_config(TOKEN_ADAPT))
    assert seitpp["frozen_parameters"] == there.parameters + back.parameters and seit["frozen_parameters"] == 0
    looked_up = 16 * (4 * 64 + 3 * 64 * 64)  # per code: its embedding, and what attention makes of that
    through = there.multiply_adds + back.multiply_adds - looked_up
    assert seit["augmentation_multiply_adds"] == crop(4)
    assert seitpp["augmentation_multiply_adds"] == (through + crop(8)) / 2  # half of the samples
    assert seitpp["augmentation_ms"] < seitpp["step_ms"] and seit["times_first"] == 1
    assert found["hardware"]["threads"] == torch.get_num_threads() and "batches of 4" in found["settings"]
    with files[1].open() as file:
        assert [float(row["step_ms"]) for row in csv.DictReader(file)] == [seit["step_ms"], seitpp["step_ms"]]
    text = files[2].read_text()
    assert text.count("\n| ") == 3 and found["settings"] in text and "paper" not in text
    assert "154 K" in printed and "106 K" in printed


def test_ratios_are_those_of_rounds_in_which_configs_take_turns_with_the_same_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = {"a": [9, 1.0, 2.0, 4.0], "b": [9, 3.0, 2.0, 5.0]}  # the first one warms up
    calls = []

    class Step:
        samples_per_step = 2
        model = SimpleNamespace(parameters=list, data_preprocessor=None)

        def __init__(self, config: str, *_: object) -> None:
            self.name, self.left = config, iter(seconds[config])

        def run(self, steps: int, clock: object) -> dict[str, float]:
            assert clock is time.process_time
            calls.append((self.name, torch.initial_seed()))
            return {"augmentation": 0.5, "forward": next(self.left) * steps - 0.5}

        def flops_per_image(self) -> int:
            return 6

        augmentation_flops_per_image = flops_per_image

    monkeypatch.setattr(costs, "TrainingStep", Step)
    monkeypatch.setattr(costs, "build_loader", lambda config: None)
    first, second = costs.training_costs(["a", "b"], "cpu", "float32", 3, 5)
    assert [name for name, _ in calls] == list("abababab")
    seeds = [seed for _, seed in calls]
    assert seeds[::2] == seeds[1::2] and len(set(seeds)) == 4
    assert second.step_ms == [1500, 1000, 2500] and second.augmentation_ms == [50] * 3 and second.network == 3
    figures = second.figures(first)
    assert (figures["times_first"], figures["times_first_lowest"], figures["times_first_highest"]) == (1.25, 1, 3)
    assert figures["step_ms"] / first.figures(first)["step_ms"] == 1.5  # the ratio of medians is another one


def test_a_batch_is_divided_by_its_share() -> None:
    split = {"type": "seitpp.SplitBatch", "by": "probability", "share": 0.25, "first": [], "second": []}
    same = {**split, "by": "same"}
    config = Config({"data_preprocessor": {"augments": [split, {"type": "seitpp.OneOf", "transforms": [same]}]}})
    costs.use_equal_parts(config)
    first, second = config.data_preprocessor.augments
    assert (first.by, first.share, second.transforms[0].by) == ("half", 0.25, "same")


def test_rows_of_table_b_have_the_papers_figures_beside_them() -> None:
    tool = runpy.run_path(str(TOOLS / "analysis_tools" / "cost_table.py"))
    paths = tool["parse_args"]([]).configs
    assert all(Path(path).is_file() for path in paths) and len(paths) == 4
    cost = costs.TrainingCost(1, 0, 1, 1, [1.0], [1.0])
    rows: list[dict[str, Any]] = tool["figures_of"]([*paths, str(DIGITS[0])], [cost] * 5)
    assert [row["paper_top1"] for row in rows] == ["77.3", "80.1", "", "81.4", ""]
    assert tool["columns_of"](rows)[-1] == "paper\ntop-1" and tool["cells"](rows[1])[-1] == "80.1"


def test_the_papers_sizes_are_ours() -> None:
    (classifier,) = complexities(read_config(CONFIGS / "seit" / "seit_vit-small-p16_8xb128-300e_in100-tokens.py"))
    encoder, _, decoder = complexities(read_config(CONFIGS / "tokenizers" / "seit_vitvqgan.py"))
    adapt = complexities(read_config(CONFIGS / "tokenadapt" / "tokenadapt_d384_1xb128-1e_in1k-256px.py"))
    for found, millions in (([classifier], 22), ([encoder, decoder], 172), (adapt, 3.7)):
        assert sum(part.parameters for part in found) == pytest.approx(millions * 1e6, rel=0.035)


@pytest.mark.slow
def test_table_b_is_measured_at_full_size(tmp_path: Path) -> None:
    line = ["--batch-size", 2, "--images", 2, "--rounds", 1, "--out", tmp_path / "costs.json"]
    assert tool_main("analysis_tools/cost_table.py")(line) == 0
    rows = json.loads((tmp_path / "costs.json").read_text())["rows"]
    assert [round(row["frozen_parameters"] / 1e6, 1) for row in rows] == [0, 170.4, 3.8, 3.8]
    assert rows[1]["augmentation_multiply_adds"] > 40 * rows[2]["augmentation_multiply_adds"]
    assert rows[1]["augmentation_ms"] > 5 * rows[2]["augmentation_ms"]
