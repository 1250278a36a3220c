"""Sizes that follow from the images: tokenizer, grid, network, batch; a `Setup` is all that recipes are made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from seitpp.io.config_file import read_config
from seitpp.io.text import did_you_mean, nearest_names
from seitpp.registry import TOKENIZERS
from seitpp.storage import StoreReader
from seitpp.storage.tokenizer_entry import known_distance
from seitpp.tokenizers.from_store import outline_from_header
from seitpp.workflow.images import Pictures, distinct_patches

METHODS = {
    "seit": "a classifier from scratch (SeiT)",
    "seitpp": "a classifier from scratch, augmented through TokenAdapt (SeiT++ without MTM)",
    "mtm": "masked token modelling, then fine-tuning (SeiT++)",
}
_DEFAULT_SIDE = 64  # most pixels of a side, where none is asked for
_SMALL_SIDE, _LARGE_SIDE = 20, 96  # images below the first have patches of 2 pixels, from the second on of 8
_MOST_CODES = 256
_FIT_IMAGES, _FIT_PATCHES = 1000, 50_000  # most that k-means is fitted to: a minute on a slow core


@dataclass(frozen=True)
class Network:
    """Sizes of an encoder, and of what goes with it."""

    width: int
    depth: int
    heads: int
    most_patches: int  # positions; larger grids get larger patches
    lr: float  # of a classifier from scratch, for 64 samples per step
    finetune_lr: float
    mtm_lr: float


MODELS = {
    "tiny": Network(width=64, depth=3, heads=4, most_patches=64, lr=4e-3, finetune_lr=8e-3, mtm_lr=2e-3),
    "small": Network(width=384, depth=12, heads=6, most_patches=256, lr=5e-4, finetune_lr=1e-3, mtm_lr=5e-4),
    "base": Network(width=768, depth=12, heads=12, most_patches=256, lr=2.5e-4, finetune_lr=5e-4, mtm_lr=2.5e-4),
}


@dataclass(frozen=True)
class TokenizerSetup:
    """What turns the images into tokens, and the sizes of these.

    `config` is the entry `tokenizer` of a config; None where `given` (a config or a store) is used as it is.
    """

    grid: tuple[int, int]
    codebook_size: int
    code_dim: int | None  # values of a code
    image_size: tuple[int, int]
    in_channels: int
    distance: str
    config: dict[str, Any] | None = None
    given: str | None = None
    options: tuple[str, ...] = ()  # of `--cfg-options`, for a given config
    channels: int | None = None  # integers per position of a tokenizer without codebook
    can_decode: bool = True
    pixel_range: tuple[float, float] = (0.0, 1.0)
    entry: dict[str, Any] | None = None  # of a given config, without what it is fitted by
    fitted: bool = False  # whether a given config is fitted to the images


@dataclass(frozen=True)
class Setup:
    """What the recipes of one request are made of."""

    out: str
    source: str
    task: Literal["classification", "segmentation", "pretraining"]
    method: str
    model: str
    tokenizer: TokenizerSetup
    network: Network
    classes: list[str] | None
    num_train: int
    num_val: int
    batch_size: int
    patch_size: int  # in tokens
    tools: str = "tools"  # folder of the commands, as they are to be typed
    images: dict[str, dict[str, Any]] = field(default_factory=dict)  # options of `ImageDataset` for `train` and `val`
    class_weight: list[float] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which each training image is seen once."""
        return self.num_train // self.batch_size

    @property
    def uses_token_adapt(self) -> bool:
        """Whether augmentations go through a TokenAdapt, which is trained first."""
        return self.method != "seit"


@dataclass(frozen=True)
class Lengths:
    """How long each training lasts, in epochs; in iterations where a segmentor is trained. 0 where there is none."""

    tokenadapt: int = 0
    mtm: int = 0
    train: int = 0


def known_name(name: str, known: Sequence[str], option: str) -> str:
    """Return a name of an option; `ValueError` with the nearest ones if there is no such name."""
    if name not in known:
        meant = did_you_mean(nearest_names(name, known))
        raise ValueError(f"{option} is {name!r}, expected one of {', '.join(known)}{meant}")
    return name


def choose_tokenizer(pictures: Pictures, given: str | None, image_size: int | None) -> TokenizerSetup:
    """Return the tokenizer that was asked for, or k-means on patches that suit the images.

    Raises:
        FileNotFoundError: There is no such config or store.
        ValueError: It is neither, or the size of the images does not divide into its patches.
    """
    if given is None:
        return _kmeans(pictures, image_size)
    if Path(given, "header.json").is_file():
        if image_size is not None:
            raise ValueError(
                f"--image-size {image_size}: {given} is a store, whose tokenizer has a size of its own; leave it out"
            )
        return _of_store(given)
    return _of_config(given, image_size)


def _kmeans(pictures: Pictures, asked: int | None) -> TokenizerSetup:
    side = asked or min(_DEFAULT_SIDE, *pictures.sides)
    patch = 2 if side < _SMALL_SIDE else 4 if side < _LARGE_SIDE else 8
    if asked is not None and (asked % patch or asked < 2 * patch):
        near = sorted({max(2 * patch, side // patch * patch), max(2 * patch, -(-side // patch) * patch)})
        raise ValueError(
            f"--image-size {asked} does not divide into patches of {patch} x {patch} pixels; use "
            f"{' or '.join(map(str, near))}"
        )
    side = max(2 * patch, round(side / patch) * patch)
    channels = 1 if pictures.is_grey else 3
    distinct = distinct_patches(pictures.sample, (side, side), patch, pictures.is_grey)
    # An eighth of the different patches at most: codes that stand for one patch each say nothing of new images.
    wanted = 64 if side // patch <= 4 else _MOST_CODES
    codes = next((size for size in (256, 128, 64, 32, 16, 8) if size <= min(wanted, distinct / 4)), 0)
    if not codes:
        raise ValueError(
            f"the {pictures.num_looked_at} images looked at have {distinct} different patches of {patch} x {patch} "
            f"pixels at {side} x {side}, too few to fit a tokenizer to; give more images, a larger --image-size, or a "
            "--tokenizer"
        )
    images = min(_FIT_IMAGES, _FIT_PATCHES // (side // patch) ** 2)
    config = {"type": "seitpp.PatchKMeans", "image_size": side, "patch_size": patch, "in_channels": channels}
    return TokenizerSetup(
        grid=(side // patch, side // patch),
        codebook_size=codes,
        code_dim=channels * patch**2,
        image_size=(side, side),
        in_channels=channels,
        distance="euclidean",
        config={**config, "fit": {"codebook_size": codes, "num_images": images, "seed": 0}},
    )


def _of_store(path: str) -> TokenizerSetup:
    reader = StoreReader(path)
    entry = reader.header["tokenizer"]
    if "type" not in entry:
        raise ValueError(
            f"--tokenizer {path}: the store does not say how to build its tokenizer "
            f"({entry.get('name', 'without a name')!r}), so images cannot be turned into its tokens; give a config of "
            "configs/tokenizers/"
        )
    outline = outline_from_header(entry, path)
    dims = None if reader.codebook is None else reader.codebook.shape[1]
    return TokenizerSetup(
        grid=tuple(reader.grid),
        codebook_size=reader.codebook_size,
        code_dim=dims,
        image_size=outline.image_size,
        in_channels=outline.in_channels,
        pixel_range=outline.pixel_range,
        distance=known_distance(entry) or "cosine",
        given=path,
        channels=reader.channels,
        can_decode=outline.can_decode,
    )


def _of_config(path: str, image_size: int | None) -> TokenizerSetup:
    if Path(path).is_dir():
        below = next(Path(path).glob("*/header.json"), None)
        raise ValueError(
            f"--tokenizer {path} is a folder and no token store, which has a header.json; expected a store, or a file "
            f"of configs/tokenizers/{did_you_mean([str(below.parent)] if below else [])}"
        )
    if not Path(path).is_file():
        known = sorted(file.name for file in Path("configs/tokenizers").glob("*.py"))
        name = Path(path).name
        near = did_you_mean(f"configs/tokenizers/{one}" for one in nearest_files(name, known))
        raise FileNotFoundError(
            f"--tokenizer {path} does not exist; expected a token store, or a file of configs/tokenizers/{near}"
        )
    config = read_config(path)
    if not config.get("tokenizer"):
        raise ValueError(f"--tokenizer {path} has no 'tokenizer'; expected a file of configs/tokenizers/")
    entry = config.tokenizer.to_dict()
    options: tuple[str, ...] = ()
    if image_size is not None:
        entry["image_size"], options = image_size, (f"tokenizer.image_size={image_size}",)
    # With its weights: only they tell the sizes of the codebook, and a missing file is noticed now.
    tokenizer = TOKENIZERS.build({key: value for key, value in entry.items() if key != "fit"})
    fit = entry.get("fit")
    dims = None if tokenizer.codebook is None else tokenizer.codebook.shape[1]
    return TokenizerSetup(
        grid=tuple(tokenizer.grid),
        codebook_size=fit["codebook_size"] if fit else tokenizer.codebook_size,
        code_dim=dims,
        image_size=tuple(tokenizer.image_size),
        in_channels=tokenizer.in_channels,
        pixel_range=tokenizer.pixel_range,
        distance=getattr(tokenizer, "distance", "cosine"),
        given=path,
        options=options,
        channels=tokenizer.channels,
        can_decode=tokenizer.can_decode,
        entry={key: value for key, value in entry.items() if key != "fit"},
        fitted=fit is not None,
    )


def nearest_files(name: str, known: Sequence[str]) -> list[str]:
    """Return file names that look like a wrong one, whatever follows the dot."""
    stems = {Path(one).stem.replace(".", "-"): one for one in known}
    return [stems[stem] for stem in nearest_names(Path(name).stem.replace(".", "-"), stems)]


def choose_setup(
    out: str, source: str, pictures: Pictures, tokenizer: TokenizerSetup, model: str, method: str
) -> Setup:
    """Choose batch and patches: of few images small batches, since a run is counted in steps.

    Raises:
        ValueError: The method does not go with the images or the tokens.
    """
    task = {"class": "classification", "segmentation": "segmentation", "none": "pretraining"}[pictures.kind]
    if task == "pretraining" and method != "mtm":
        raise ValueError(
            f"{source} has no classes, so there is nothing to classify: put the images of each class into a folder of "
            "its own, or give --method mtm, which learns from images without classes"
        )
    if tokenizer.channels is not None and (method == "mtm" or task == "segmentation"):
        raise ValueError(
            f"--tokenizer {tokenizer.given} makes {tokenizer.channels} integers per position and no codes, which "
            f"{'--method mtm' if method == 'mtm' else 'segmentation'} needs; use --method seit, or a tokenizer with a "
            "codebook"
        )
    network = MODELS[model]
    count = len(pictures.train)
    batch = next((size for size in (64, 32, 16) if count >= 16 * size), 8)
    if task == "segmentation":
        batch = min(batch, 8)
        network = replace(network, depth=max(4, network.depth))  # UPerNet reads four blocks
    return Setup(
        out=out,
        source=source,
        task=task,
        method=method,
        model=model,
        tokenizer=tokenizer,
        network=network,
        classes=pictures.classes,
        num_train=count,
        num_val=len(pictures.val),
        batch_size=batch,
        patch_size=1 if task == "segmentation" else _patch_size(tokenizer.grid, network.most_patches),
        class_weight=_class_weight(pictures),
    )


def _patch_size(grid: tuple[int, int], most: int) -> int:
    """Return the smallest number of tokens, along a side of a patch, that gives few enough patches."""
    sizes = [size for size in range(1, min(grid) + 1) if not any(side % size for side in grid)]
    few = [size for size in sizes if grid[0] // size * (grid[1] // size) <= most]
    return few[0] if few else sizes[-1]


def _class_weight(pictures: Pictures) -> list[float] | None:
    """Return weights by which rare classes count more in the loss: 1 / sqrt(share), of 1 for the rarest."""
    if pictures.pixel_shares is None:
        return None
    weights = [max(float(share), 1e-3) ** -0.5 for share in pictures.pixel_shares[0]]  # of the training part
    return [round(weight / max(weights), 3) for weight in weights]
