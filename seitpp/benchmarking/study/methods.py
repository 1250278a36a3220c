"""What the study compares: sets of images, how much is run, and encoders and methods by their configs."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImageSet:
    """A set of images.

    Attributes:
        name: In the names of configs, folders and tables.
        title: Its name for readers.
        pixels: Side of its images.
        channels: 1 for grey images, 3 for colours.
        data: Default folder of its three splits; the stores lie beside it.
    """

    name: str
    title: str
    pixels: int
    channels: int
    data: str

    def config(self, name: str) -> str:
        """Return the path of a config: `name`, without ending, has `{set}` and `{pixels}` where this set is named."""
        return f"configs/study/{name.format(set=self.name, pixels=self.pixels)}.py"

    @property
    def images(self) -> Path:
        """Default folder of the images, with `train/CLASS/*` and `val/CLASS/*`."""
        return Path("data", self.name)


SETS = {
    one.name: one
    for one in (
        ImageSet("fashion-mnist", "Fashion-MNIST", 28, 1, "study"),
        ImageSet("cifar-10", "CIFAR-10", 32, 3, "study-cifar-10"),
    )
}


@dataclass(frozen=True)
class Size:
    """How much is run.

    Attributes:
        shares: Shares of the training images and the seeds of each, in the order of their importance.
        rates: Learning rates that are tried for each network.
        classifier_iters: Iterations of a classifier; those of the others follow.
        held_out: Training images of each class that are held out to choose the rates.
        token_adapt_images: Numbers of images that TokenAdapt is trained from, beside all.
        severities: Of noise and blur.
        first: Images of each class and split that are used at all; None for all.
    """

    shares: tuple[tuple[float, int], ...]
    rates: tuple[float, ...]
    classifier_iters: int
    mtm_iters: int
    token_adapt_iters: int
    held_out: int
    token_adapt_images: tuple[int, ...]
    severities: tuple[int, ...]
    first: int | None = None

    @property
    def main_share(self) -> float:
        """The share whose runs come first; rates are chosen at it."""
        return self.shares[0][0]

    @property
    def seeds(self) -> int:
        """Seeds of the main share."""
        return self.shares[0][1]


SIZES = {
    # Severities beyond 3 leave nothing of so small images: their blur has a deviation of 4 pixels and more.
    "full": Size(
        ((0.1, 3), (1.0, 1), (0.2, 1), (0.6, 1)), (1e-3, 2e-3, 4e-3), 2000, 4000, 3000, 1000, (1000, 100), (1, 2, 3)
    ),
    "small": Size(((0.5, 1),), (2e-3,), 20, 20, 20, 20, (100,), (3,), 100),
}


@dataclass(frozen=True)
class Encoder:
    """A pre-training by MTM.

    Attributes:
        title: Its name in tables.
        config: Its config, see `ImageSet.config`.
        needs_token_adapt: Whether its augmentation does.
        method: Method whose classifiers start from it, for its colour in figures.
        stem: Words of `--cfg-options` that give a linear probe its stem.
    """

    title: str
    config: str
    needs_token_adapt: bool = True
    method: str = "seitpp-mtm"
    stem: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A classifier, one row of a table.

    Attributes:
        title: Its name there.
        config: Its config, see `ImageSet.config`.
        data: `pixels`, `tokens` or `dct`.
        needs_token_adapt: Whether its augmentation does.
        mtm: Name of the pre-training in `ENCODERS` that it starts from, if any.
        rate_of: Method whose rate it takes in place of one that is chosen for it.
        options: Further words of `--cfg-options`.
    """

    title: str
    config: str
    data: str = "tokens"
    needs_token_adapt: bool = False
    mtm: str | None = None
    rate_of: str | None = None
    options: tuple[str, ...] = ()


TOKENIZERS = {"tokens": "kmeans_4px-k256_{set}", "dct": "dct_q50_{set}"}
TOKEN_ADAPT = {
    "tokens": "tokenadapt_d64_1xb64-3k_{set}-{pixels}px",
    "dct": "tokenadapt_d64_1xb64-3k_{set}-dct-32px",
}

_OVERLAP = tuple(f"+model.backbone.patch_cfg.{one}" for one in ("kernel_size=3", "stride=1", "padding=1"))

ENCODERS = {
    "mtm": Encoder("MTM of SeiT++", "mtm_vit-tiny-p4_1xb64-4k_{set}-tokens"),
    "mtm-seit": Encoder(
        "MTM with SeiT's augmentation", "mtm_vit-tiny-p4_seit-aug_1xb64-4k_{set}-tokens", False, method="seit-mtm"
    ),
    "mtm-overlap": Encoder(
        "MTM of SeiT++, SeiT's stem",
        "mtm_vit-tiny-p4_overlap_1xb64-4k_{set}-tokens",
        method="seitpp-mtm-overlap",
        stem=_OVERLAP,
    ),
    "mtm-seit-overlap": Encoder(
        "MTM with SeiT's augmentation and stem",
        "mtm_vit-tiny-p4_overlap_seit-aug_1xb64-4k_{set}-tokens",
        False,
        method="seit-mtm-overlap",
        stem=_OVERLAP,
    ),
}

# Those of the headline first.
METHODS = {
    "pixels": Method("pixels", "vit-tiny-p4_1xb64-2k_{set}-pixels", "pixels"),
    "pixels-overlap": Method(
        "pixels, SeiT's stem",
        "vit-tiny-p4_1xb64-2k_{set}-pixels",
        "pixels",
        options=tuple(f"+model.backbone.patch_cfg.{one}" for one in ("kernel_size=12", "stride=4", "padding=4")),
    ),
    "seit": Method("SeiT", "seit_vit-tiny-p4_1xb64-2k_{set}-tokens"),
    "seitpp": Method("SeiT++ w/o MTM", "seitpp_vit-tiny-p4_1xb64-2k_{set}-tokens", needs_token_adapt=True),
    "seit-mtm": Method("SeiT w/ MTM", "seit_vit-tiny-p4_mtm-4k-pre_1xb64-2k_{set}-tokens", mtm="mtm-seit"),
    "seitpp-mtm": Method(
        "SeiT++ w/ MTM", "seitpp_vit-tiny-p4_mtm-4k-pre_1xb64-2k_{set}-tokens", needs_token_adapt=True, mtm="mtm"
    ),
    "seit-mtm-overlap": Method(
        "SeiT w/ MTM, SeiT's stem",
        "seit_vit-tiny-p4_overlap_mtm-4k-pre_1xb64-2k_{set}-tokens",
        mtm="mtm-seit-overlap",
    ),
    "seitpp-mtm-overlap": Method(
        "SeiT++ w/ MTM, SeiT's stem",
        "seitpp_vit-tiny-p4_overlap_mtm-4k-pre_1xb64-2k_{set}-tokens",
        needs_token_adapt=True,
        mtm="mtm-overlap",
    ),
    "codes": Method("codes from scratch", "codes_vit-tiny-p4_1xb64-2k_{set}-tokens", needs_token_adapt=True),
    "codes-overlap": Method(
        "codes from scratch, SeiT's stem", "codes_vit-tiny-p4_overlap_1xb64-2k_{set}-tokens", needs_token_adapt=True
    ),
}
HEADLINE = ("pixels", "seit", "seitpp", "seit-mtm", "seitpp-mtm", "seit-mtm-overlap", "seitpp-mtm-overlap")
# What the study is about: these run first.
CLAIM = ("seit", "seitpp", "seitpp-mtm-overlap", "seitpp-mtm", "codes-overlap", "pixels")

# Table 7 of the paper, beside SeiT and SeiT++ without MTM.
ADAPTS = {
    "coloradapt": Method("SeiT with ColorAdapt", "seit_vit-tiny-p4_coloradapt_1xb64-2k_{set}-tokens", rate_of="seit"),
    "tokenadapt": Method(
        "SeiT with TokenAdapt",
        "seit_vit-tiny-p4_tokenadapt_1xb64-2k_{set}-tokens",
        needs_token_adapt=True,
        rate_of="seit",
    ),
}

# Table 8 of the paper.
DCT = {
    "seit-dct": Method("SeiT", "seit_vit-tiny-p8_1xb64-2k_{set}-dct", "dct"),
    "seitpp-dct": Method(
        "SeiT++ w/o MTM", "seitpp_vit-tiny-p8_1xb64-2k_{set}-dct", "dct", needs_token_adapt=True, rate_of="seit-dct"
    ),
}

KNN = "knn_mtm_vit-tiny-p4_{set}-tokens"
LINEAR = "linear_mtm_vit-tiny-p4_1xb64-2k_{set}-tokens"

STEPS = {
    "data": "training images held out, the others to tokens",
    "tokenadapt": "TokenAdapt",
    "encoders": "MTM",
    "rates": "learning rates, on the held-out images",
    "scores": "all methods at all shares (Tables 2 and 6)",
    "adapts": "TokenAdapt and ColorAdapt alone (Table 7)",
    "images": "TokenAdapt from few images (Table A)",
    "dct": "DCT in place of VQ (Table 8)",
    "robustness": "noise and blur (Table 5)",
    "probes": "neighbours and a linear probe of MTM's encoder",
}
