"""A study of one set of images: its folders, the names of its runs, and the learning rates that follow from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from seitpp.benchmarking.study.methods import ADAPTS, DCT, METHODS, ImageSet, Size
from seitpp.benchmarking.study.records import Run

UNTRAINED = "untrained"  # an encoder of random weights, which the probes compare MTM's with


@dataclass(frozen=True)
class Study:
    """What is run where, and how its runs are called: by their folders below `out`.

    Attributes:
        set: The set of images.
        size: How much is run.
        images: Folder with `train/CLASS/*` and `val/CLASS/*`.
        data: Folder of the images in three splits; its stores are written beside it.
        out: Folder of the runs of all sets.
        has_more_rates: Whether rates are chosen at the largest share, too, and each share takes those of the nearer.
    """

    set: ImageSet
    size: Size
    images: Path
    data: Path
    out: Path
    has_more_rates: bool = False

    @property
    def fractions(self) -> list[float]:
        """Shares of the training images, the largest first."""
        return sorted((fraction for fraction, _ in self.size.shares), reverse=True)

    @property
    def rate_fractions(self) -> list[float]:
        """Shares at which rates are chosen."""
        main = self.size.main_share
        return list(dict.fromkeys((main, self.fractions[0]))) if self.has_more_rates else [main]

    def store(self, data: str) -> Path:
        """Return the folder of the `tokens` or the `dct`."""
        return self.data.with_name(f"{self.data.name}-{data}")

    def score_name(self, method: str, fraction: float, seed: int) -> str:
        """Return the name of a run that the tables show."""
        return f"{self.set.name}/scores/{method}-{percent(fraction)}-seed{seed}"

    def encoder_name(self, encoder: str, fraction: float, seed: int) -> str:
        """Return the name of a pre-training."""
        return f"{self.set.name}/encoders/{encoder}-{percent(fraction)}-seed{seed}"

    def token_adapt_name(self, images: int | None = None, data: str = "tokens") -> str:
        """Return the name of TokenAdapt's training from so many images, or all."""
        kind = "all" if images is None else f"{images}img"
        return f"{self.set.name}/tokenadapt/{kind}-{data}"

    def rate_name(self, method: str, fraction: float, rate: float) -> str:
        """Return the name of a run that tries a rate."""
        return f"{self.set.name}/rates/{method}-{percent(fraction)}-lr{rate:g}"

    def few_images_name(self, images: int, seed: int) -> str:
        """Return the name of a SeiT++ without MTM whose TokenAdapt was trained from so many images."""
        return f"{self.set.name}/images/seitpp-{images}img-seed{seed}"

    def robustness_name(self, method: str) -> str:
        """Return the name of a test on noise and blur."""
        return f"{self.set.name}/robustness/{method}-{percent(self.size.main_share)}-seed0"

    def probe_name(self, kind: str, encoder: str) -> str:
        """Return the name of a probe, `knn` or `linear`, of an encoder of the main share, or of `UNTRAINED`."""
        return f"{self.set.name}/probes/{kind}-{encoder}"

    def tested(self, runs: Mapping[str, Run], method: str, fraction: float) -> list[Run]:
        """Return those runs of a cell, seed by seed, that were tested."""
        names = (self.score_name(method, fraction, seed) for seed in range(self.size.seeds))
        return [runs[name] for name in names if name in runs and runs[name].test is not None]

    def rate_names(self, method: str, fraction: float) -> dict[str, float]:
        """Return the runs that a method's rate at a share is chosen from, at the nearer share, with their rates."""
        nearer = min(self.rate_fractions, key=lambda one: abs(one - fraction))
        name = {**METHODS, **ADAPTS, **DCT}[method].rate_of or method
        return {self.rate_name(name, nearer, rate): rate for rate in self.size.rates}

    def rate(self, method: str, fraction: float, score: Callable[[str], float | None]) -> float:
        """Return a method's rate at a share, that of the best score; of two equal ones the smaller rate.

        Args:
            method: Its name.
            fraction: The share.
            score: Returns the score on held-out images of the run of a name; None without one.

        Raises:
            ValueError: One of its rates has no score.
        """
        names = self.rate_names(method, fraction)
        scores = {name: score(name) for name in names}
        if missing := [name for name, found in scores.items() if found is None]:
            raise ValueError(
                f"{', '.join(missing)}: no score on the held-out images; run the step of the rates, and remove the "
                "folder of a run that was killed before its score"
            )
        return max((scores[name], -rate, rate) for name, rate in names.items())[-1]


def percent(fraction: float) -> str:
    """Return a share as it stands in names, such as `10pct`."""
    return f"{100 * fraction:g}pct"
