"""What training costs with one augmentation and with another, side by side (SeiT++, A.4 and Table B).

Networks that augment are frozen: their weights are counted apart from those that train, and random ones cost as much.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import set_random_seed

from seitpp.benchmarking.steps import TrainingStep, build_loader
from seitpp.benchmarking.synthetic import augments_named
from seitpp.benchmarking.timing import measure
from seitpp.engine.model_kind import ModelKind, check_kind
from seitpp.structures.seeds import step_seed
from seitpp.structures.transform_tree import walk


@dataclass
class TrainingCost:
    """What one config costs per sample.

    Attributes:
        trained: Parameters that training changes.
        frozen: Those of the networks that augment.
        network: Multiply-adds of the trained network, forward and backward pass.
        augmentation: Multiply-adds of the data preprocessor.
        step_ms: Milliseconds of a step in each round.
        augmentation_ms: Those of its augmentation.
    """

    trained: int
    frozen: int
    network: int
    augmentation: int
    step_ms: list[float] = field(default_factory=list)
    augmentation_ms: list[float] = field(default_factory=list)

    def figures(self, first: "TrainingCost") -> dict[str, float]:
        """Return counts, median times, and the time of a step over that of `first`: of all rounds, and its extremes."""
        ratios = [own / other for own, other in zip(self.step_ms, first.step_ms, strict=True)]
        return {
            "trained_parameters": self.trained,
            "frozen_parameters": self.frozen,
            "network_multiply_adds": self.network,
            "augmentation_multiply_adds": self.augmentation,
            "step_ms": statistics.median(self.step_ms),
            "augmentation_ms": statistics.median(self.augmentation_ms),
            "times_first": statistics.median(ratios),
            "times_first_lowest": min(ratios),
            "times_first_highest": max(ratios),
        }


def check_comparable(configs: Sequence[Config]) -> None:
    """Raise `ValueError` unless all configs train classifiers, or all MTM."""
    kinds = [check_kind(config, ModelKind.CLASSIFIER, ModelKind.MTM) for config in configs]
    for config, kind in zip(configs, kinds, strict=True):
        if kind is not kinds[0]:
            raise ValueError(
                f"{config.filename} trains {kind.value} and {configs[0].filename} {kinds[0].value}; the ratio of "
                "their steps tells nothing of augmentation, so give configs of one kind"
            )


def use_equal_parts(config: Config) -> None:
    """Let steps cost the same: a batch is divided by its share, not by a draw per sample, which gives it on average."""
    for split in augments_named(config, "SplitBatch"):
        if split.get("by") == "probability":
            split.by = "half"


def count_parameters(model: BaseModel) -> tuple[int, int]:
    """Return the parameters that training changes, and those of the networks that augment."""
    trained = sum(value.numel() for value in model.parameters() if value.requires_grad)
    augments = walk(getattr(model.data_preprocessor, "augments", []))
    networks = {id(network): network for augment in augments for network in getattr(augment, "networks", list)()}
    return trained, sum(value.numel() for network in networks.values() for value in network.parameters())


def training_costs(
    configs: Sequence[Config], device: str, precision: str, rounds: int, steps: int
) -> list[TrainingCost]:
    """Count each config and time its steps; the configs take turns, and draw the same numbers in a round.

    Times are those of the GPU, or of all threads of a CPU together, which other programs change less.

    Args:
        configs: With data and weights that are there (`step_config`).
        device: Where to run.
        precision: Of `TrainingStep`.
        rounds: Turns of each, after one that warms up.
        steps: Steps per turn.
    """
    costs, turns = [], {}
    for number, config in enumerate(configs):
        step = TrainingStep(config, build_loader(config), device, precision)
        network, augmentation = step.flops_per_image() // 2, step.augmentation_flops_per_image() // 2
        costs.append(TrainingCost(*count_parameters(step.model), network, augmentation))
        turns[str(number)] = _Turns(step, steps)
    measure({name: turn.run for name, turn in turns.items()}, rounds, device)
    for cost, turn in zip(costs, turns.values(), strict=True):
        for seconds in turn.phases[1:]:
            per_sample = 1e3 / (steps * turn.step.samples_per_step)
            cost.step_ms.append(per_sample * sum(seconds.values()))
            cost.augmentation_ms.append(per_sample * seconds["augmentation"])
    return costs


class _Turns:
    """Turns of one config, and the seconds of each phase of each."""

    def __init__(self, step: TrainingStep, steps: int) -> None:
        self.step, self.steps = step, steps
        self.phases: list[dict[str, float]] = []

    def run(self) -> None:
        set_random_seed(step_seed(0, len(self.phases), 0))
        self.phases.append(self.step.run(self.steps, time.process_time))
