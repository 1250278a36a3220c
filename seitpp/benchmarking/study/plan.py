"""What the study runs: the jobs of each of its steps, from the configs in configs/study/."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seitpp.benchmarking.study.jobs import Job

_CONFIG = "configs/study/{}.py"
_TOKENIZER = _CONFIG.format("kmeans_4px-k256_fashion-mnist")
_TOKEN_ADAPT = _CONFIG.format("tokenadapt_d64_1xb64-3k_fashion-mnist-28px")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        seeds: Runs of each cell.
        fractions: Shares of the training images, the largest first.
        rates: Learning rates that are tried for each network, at the largest and the smallest share.
        classifier_iters: Iterations of a classifier; those of the others follow.
        held_out: Training images of each class that are held out to choose the rates.
        first: Images of each class and split that are used at all; None for all.
    """

    seeds: int
    fractions: tuple[float, ...]
    rates: tuple[float, ...]
    classifier_iters: int
    mtm_iters: int
    token_adapt_iters: int
    held_out: int
    first: int | None = None


SIZES = {
    "full": Size(3, (1.0, 0.6, 0.2, 0.1), (1e-3, 2e-3, 4e-3, 8e-3), 2000, 4000, 3000, 1000),
    "small": Size(1, (0.5,), (2e-3, 4e-3), 20, 20, 20, 20, 100),
}


@dataclass(frozen=True)
class Method:
    """One row of the tables.

    Attributes:
        title: Its name there.
        config: Of its classifier, without folder and ending.
        mtm: Name of the pre-training in `ENCODERS` that it starts from, if any.
        rate_of: Method whose rate it takes in place of one that is chosen for it.
    """

    title: str
    config: str
    mtm: str | None = None
    rate_of: str | None = None


ENCODERS = {
    "mtm": "mtm_vit-tiny-p4_1xb64-4k_fashion-mnist-tokens",
    "mtm-seit": "mtm_vit-tiny-p4_seit-aug_1xb64-4k_fashion-mnist-tokens",
}
METHODS = {
    "pixels": Method("pixels", "vit-tiny-p4_1xb64-2k_fashion-mnist-pixels"),
    "seit": Method("SeiT", "seit_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens"),
    "seitpp": Method("SeiT++ w/o MTM", "seitpp_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens"),
    "seit-mtm": Method("SeiT w/ MTM", "seit_vit-tiny-p4_mtm-4k-pre_1xb64-2k_fashion-mnist-tokens", "mtm-seit"),
    "seitpp-mtm": Method("SeiT++ w/ MTM", "seitpp_vit-tiny-p4_mtm-4k-pre_1xb64-2k_fashion-mnist-tokens", "mtm"),
    "codes": Method("codes from scratch", "codes_vit-tiny-p4_1xb64-2k_fashion-mnist-tokens"),
    "codes-overlap": Method(
        "codes from scratch, SeiT's stem", "codes_vit-tiny-p4_overlap_1xb64-2k_fashion-mnist-tokens"
    ),
}
ABLATION = {
    "coloradapt": Method(
        "SeiT with ColorAdapt", "seit_vit-tiny-p4_coloradapt_1xb64-2k_fashion-mnist-tokens", rate_of="seit"
    ),
    "tokenadapt": Method(
        "SeiT with TokenAdapt", "seit_vit-tiny-p4_tokenadapt_1xb64-2k_fashion-mnist-tokens", rate_of="seit"
    ),
}


@dataclass(frozen=True)
class Study:
    """All jobs of a study, below one folder.

    Attributes:
        size: How much is run.
        images: Folder with `train/CLASS/*` and `val/CLASS/*`.
        data: Folder of the images in three splits; its stores are written beside it.
        out: Folder of the runs.
    """

    size: Size
    images: Path
    data: Path
    out: Path

    @property
    def tokens(self) -> Path:
        """Folder of the token stores."""
        return self.data.with_name(f"{self.data.name}-tokens")

    def split_jobs(self) -> list[Job]:
        """Return the job that holds images out, unless the splits are there."""
        first = () if self.size.first is None else ("--first", str(self.size.first))
        split = ("tools/dataset_converters/hold_out.py", str(self.images), str(self.data))
        job = Job(self.out / "data" / "split", ((*split, "--last", str(self.size.held_out), *first),))
        return [] if self.data.is_dir() else [job]

    def tokenize_jobs(self) -> list[Job]:
        """Return the job that tokenises all splits."""
        line = ("tools/tokenize_images.py", _TOKENIZER, str(self.data), str(self.tokens), "--split", *_SPLITS)
        return [Job(self.out / "data" / "tokens", (line,))]

    def token_adapt_jobs(self) -> list[Job]:
        """Return the job that trains TokenAdapt."""
        iters = self.size.token_adapt_iters
        options = [*self._roots(self.data), f"model.tokenizer.codebook={self.tokens}/train", *_schedule(iters)]
        return [self._job(self.out / "tokenadapt", _TOKEN_ADAPT, options)]

    def mtm_jobs(self) -> list[Job]:
        """Return the pre-trainings: each on each share of the images, for an encoder has no more images either."""
        cells = [(name, fraction) for name in ENCODERS for fraction in self.size.fractions]
        jobs = []
        for name, fraction in cells:
            options = [*self._token_options(), *_schedule(self.size.mtm_iters)]
            jobs += [
                self._job(
                    self._encoder(name, fraction, seed),
                    _CONFIG.format(ENCODERS[name]),
                    [*options, f"randomness.seed={seed}"],
                    self._more(fraction, ENCODERS[name]),
                )
                for seed in range(self.size.seeds)
            ]
        return jobs

    def rate_jobs(self) -> list[Job]:
        """Return the runs that choose the rates, of one seed and scored on the held-out images alone."""
        fractions = dict.fromkeys((self.size.fractions[0], self.size.fractions[-1]))
        return [
            self._classifier(self.rate_folder(name, fraction, rate), method, fraction, 0, rate)
            for fraction in fractions
            for name, method in METHODS.items()
            for rate in self.size.rates
        ]

    def rate_folder(self, name: str, fraction: float, rate: float) -> Path:
        """Return the folder of a run that tries a rate."""
        return self.out / "rates" / f"{name}-{_percent(fraction)}-lr{rate:g}"

    def score_jobs(self, rates: Mapping[tuple[str, float], float]) -> list[Job]:
        """Return the runs that the tables show, tested on the test images; `rates` by method and share."""
        cells = [(name, fraction) for name in METHODS for fraction in self.size.fractions]
        cells += [(name, self.size.fractions[0]) for name in ABLATION]
        jobs = []
        for name, fraction in cells:
            method = {**METHODS, **ABLATION}[name]
            rate = rates[method.rate_of or name, fraction]
            for seed in range(self.size.seeds):
                folder = self.score_folder(name, fraction, seed)
                trained = self._classifier(folder, method, fraction, seed, rate)
                checkpoint = str(folder / f"iter_{self.size.classifier_iters}.pth")
                config = str(folder / f"{method.config}.py")  # with the options of the training
                test = ("tools/test.py", config, checkpoint, "--work-dir", str(folder))
                jobs.append(Job(folder, (*trained.commands, (*test, "--out", str(folder / "metrics.json")))))
        return jobs

    def score_folder(self, name: str, fraction: float, seed: int) -> Path:
        """Return the folder of a run that the tables show."""
        return self.out / "scores" / f"{name}-{_percent(fraction)}-seed{seed}"

    def _classifier(self, folder: Path, method: Method, fraction: float, seed: int, rate: float) -> Job:
        is_pixels = method.config.endswith("pixels")
        options = self._roots(self.data, wrapped=fraction < 1) if is_pixels else self._token_options()
        if method.mtm is not None:
            encoder = self._encoder(method.mtm, fraction, seed) / f"iter_{self.size.mtm_iters}.pth"
            options.append(f"model.backbone.init_cfg.checkpoint={encoder}")
        options += [*_schedule(self.size.classifier_iters), f"randomness.seed={seed}"]
        options.append(f"optim_wrapper.optimizer.lr={rate:g}")
        return self._job(folder, _CONFIG.format(method.config), options, self._more(fraction, method.config))

    def _job(self, folder: Path, config: str, options: Sequence[str], more: Sequence[str] = ()) -> Job:
        train = ("tools/train.py", config, "--resume", "--work-dir", str(folder), *more)
        return Job(folder, ((*train, "--cfg-options", *options),))

    def _more(self, fraction: float, config: str) -> list[str]:
        share = [] if fraction == 1 else ["--fraction", f"{fraction:g}"]
        adapts = config.startswith(("seitpp", "codes", "mtm_vit-tiny-p4_1xb64")) or "tokenadapt" in config
        weights = self.out / "tokenadapt" / f"iter_{self.size.token_adapt_iters}.pth"
        return [*share, "--token-adapt", str(weights)] if adapts else share

    def _encoder(self, name: str, fraction: float, seed: int) -> Path:
        return self.out / "encoders" / f"{name}-{_percent(fraction)}-seed{seed}"

    def _token_options(self) -> list[str]:
        return [*self._roots(self.tokens), f"data_preprocessor.codebook={self.tokens}/train"]

    @staticmethod
    def _roots(folder: Path, wrapped: bool = False) -> list[str]:
        """Return the options that name the data; a share of images is a data set around that of the images."""
        inner = {"train": "dataset.dataset"} if wrapped else {}
        return [f"{split}_dataloader.{inner.get(split, 'dataset')}.data_root={folder}/" for split in _SPLITS]


def _schedule(iters: int) -> list[str]:
    """Return the options of a run of so many iterations, a twentieth of them warm-up, scored at the end."""
    return [
        f"train_cfg.max_iters={iters}",
        f"train_cfg.val_interval={iters}",
        f"param_scheduler.end={iters}",
        f"param_scheduler.warmup={iters // 20}",
    ]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g}pct"
