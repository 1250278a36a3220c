"""What each recipe's pipeline does to 4,096 samples: which share of them, in which order, and what a batch shares.

The rates and orders are those that docs/recipes.md states. They are counted on samples that pass through the config's
own pipeline, not read from it.
"""

import copy
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from torch import Tensor

from seitpp.augment import BatchTransform, TokenAdaptAugment
from seitpp.augment.base import as_embeddings
from seitpp.models import TokenDataPreprocessor
from seitpp.structures.transform_tree import walk
from seitpp.tokenizers import Tokenizer

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAVES = {path.stem: path for folder in ("mtm", "seit", "seitpp") for path in (CONFIGS / folder).glob("*.py")}
SAMPLES, BATCH = 4096, 32
# Rates and order depend neither on the number of codes, values and channels nor on the grid: 8 x 8 in place of 32 x 32.
K, D, CHANNELS, GRID, SMALLER = 64, 4, 3, 8, 4
COMPOSITES = ("SplitBatch", "OneOf", "RandomApply")
# Of shares that are drawn per batch, and of those that are drawn per sample or fixed.
PER_BATCH = ("EmbNoise", "ColorAdapt", "BatchMixup", "BatchCutMix", "BatchRandomFlip")
PER_BATCH_TOLERANCE, TOLERANCE = 0.06, 0.02


@dataclass
class Seen:
    """What a pipeline did to samples.

    Attributes:
        changed: Samples that each transform changed; `synonyms` and `swap` for the two of Token-EDA.
        paths: Names of the transforms that each sample was given to, in order.
        draws: Distinct parameters per call, for transforms that draw one set per batch.
        mixed: Samples whose targets have more than one class.
    """

    changed: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    paths: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    draws: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    mixed: set[int] = field(default_factory=set)

    def shares(self) -> dict[str, float]:
        return {name: len(samples) / SAMPLES for name, samples in self.changed.items()}


def changed_samples(before: Tensor, after: Tensor, codebook: Tensor | None) -> Tensor:
    """Which samples differ, (B,), bool; codes and their embeddings do not."""
    if before.is_floating_point() != after.is_floating_point():
        before, after = (as_embeddings(values, codebook, "the test") for values in (before, after))
    if before.shape != after.shape:
        return torch.ones(len(before), dtype=torch.bool)
    return (before != after).flatten(1).any(dim=1)


def watch(transform: BaseTransform, seen: Seen) -> None:
    """Record what a transform is given and what it changes."""
    name, run = type(transform).__name__, transform.transform

    def recorded(results: dict) -> dict:
        ids, before = results["sample_idx"], results["inputs"]
        for sample in ids.tolist():
            seen.paths[sample].append(name)
        results = run(results)
        changed = changed_samples(before, results["inputs"], results.get("codebook"))
        if name == "TokenEDA":
            counts = [F.one_hot(codes.long(), K).sum(dim=(1, 2)) for codes in (before, results["inputs"])]
            same = (counts[0] == counts[1]).all(dim=1)  # a swap keeps how often each code occurs
            seen.changed["synonyms"] |= set(ids[changed & ~same].tolist())
            seen.changed["swap"] |= set(ids[changed & same].tolist())
        else:
            seen.changed[name] |= set(ids[changed].tolist())
        return results

    transform.transform = recorded
    if isinstance(transform, BatchTransform):
        watch_draws(transform, name, seen)


def watch_draws(transform: BatchTransform, name: str, seen: Seen) -> None:
    """Record how many different parameters the samples of a batch get."""
    sample = transform.sample

    def recorded(batch_size: int, *args: object) -> object:
        params = sample(batch_size, *args)
        values = [value for key, value in vars(params).items() if isinstance(value, Tensor) and key != "partner"]
        if values:
            rows = torch.cat([value.reshape(batch_size, -1).double() for value in values], dim=1)
            seen.draws[name].add(len(rows.unique(dim=0)))
        return params

    transform.sample = recorded


@pytest.fixture(autouse=True, scope="module")
def instant_token_adapt() -> Iterator[None]:
    """TokenAdapt without its networks, whose results are not what is counted: the map repeats each token 2 x 2."""

    def convert(_self: object, _network: None, inputs: Tensor, codebook: Tensor | None) -> Tensor:
        maps = as_embeddings(inputs, codebook, "TokenAdapt")
        return maps.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)

    def reverse(_network: None, maps: Tensor) -> Tensor:
        values = maps[..., ::2, ::2]
        return values if values.shape[1] == CHANNELS else values.argmax(dim=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenAdaptAugment, "_network", lambda *_: None)
        patch.setattr(TokenAdaptAugment, "_convert", convert)
        patch.setattr(TokenAdaptAugment, "_reverse", staticmethod(reverse))
        yield


class Greys(Tokenizer):
    """Each code a flat grey of its own; stands for the networks that decode and encode."""

    stride = 2  # in place of 8 pixels

    def __init__(self, codebook: Tensor) -> None:
        super().__init__()
        self.codebook, self.image_size = codebook, (self.stride * GRID, self.stride * GRID)

    def encode(self, images: Tensor) -> Tensor:
        return (F.avg_pool2d(images, self.stride).mean(dim=1) * (K - 1)).round().long()

    def decode(self, codes: Tensor) -> Tensor:
        return F.interpolate(codes[:, None] / (K - 1), scale_factor=self.stride).expand(-1, 3, -1, -1)

    def describe(self) -> dict:
        return {"type": "Greys"}


def dicts(node: object) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from dicts(child)


@cache
def leaf(name: str) -> Config:
    return Config.fromfile(LEAVES[name])


def preprocessor_of(name: str) -> TokenDataPreprocessor:
    """The data preprocessor of a leaf, for few codes of few values."""
    config = copy.deepcopy(leaf(name).data_preprocessor.to_dict())
    config.pop("type")
    smaller = 1 if "digits" in name else SMALLER
    if "crop_size" in config:
        config["crop_size"] //= smaller
    codebook = torch.randn(K, D, generator=torch.Generator().manual_seed(0))
    for part in dicts(config["augments"]):
        if "size" in part:
            part["size"] //= smaller
        if "synonyms" in part:
            part["synonyms"] = {code: [(code + step) % K for step in range(1, 6)] for code in range(K)}
        if part.get("type") == "seitpp.PixelAugment":
            part["tokenizer"] = Greys(codebook)
            for crop in dicts(part["augments"]):
                if "size" in crop:
                    crop["size"] = crop["size"] * Greys.stride // 8
    if config.get("channels") is None:
        return TokenDataPreprocessor(**{**config, "codebook": codebook})
    return TokenDataPreprocessor(**{**config, "channels": CHANNELS})


@cache
def run(name: str) -> Seen:
    """Send 4,096 samples through a leaf's pipeline."""
    torch.manual_seed(0)
    preprocessor, seen = preprocessor_of(name), Seen()
    for transform in walk(preprocessor.augments):
        if type(transform).__name__ not in COMPOSITES:
            watch(transform, seen)
    grid, kept = (4, 4) if "digits" in name else (GRID, 28 // SMALLER)
    shape = (BATCH, grid, grid) if preprocessor.channels is None else (BATCH, grid, grid, CHANNELS)
    labelled = preprocessor.num_classes is not None
    for start in range(0, SAMPLES, BATCH):
        batch = {"inputs": torch.randint(K, shape), "sample_idx": torch.arange(start, start + BATCH)}
        if labelled:
            batch["gt_label"] = torch.arange(BATCH) % preprocessor.num_classes
        found = preprocessor.process(batch, training=True)
        assert found["inputs"].shape[-2:] == (kept, kept)
        assert torch.equal(found["sample_idx"], batch["sample_idx"])
        if found.get("gt_score") is not None:
            several = (found["gt_score"] > 0).sum(dim=1) > 1
            seen.mixed |= set(found["sample_idx"][several].tolist())
    return seen


ADAPTED = "TokenAdaptAugment BatchRandomFlip( BatchRandomAffine)* BatchRandomResizedCrop"
MIXED = "(BatchMixup|BatchCutMix)"
PIXELS = f"PixelAugment{ADAPTED.removeprefix('TokenAdaptAugment')}"
FROM_SCRATCH = f"(TokenRRC{{colour}} BatchCutMix|{ADAPTED} {MIXED}{{colour}})"
CHANGES = "( EmbNoise| ColorAdapt)?"
EDA = {"synonyms": 0.25, "swap": 0.25 / 2}  # of sides 0 and 1, 0 swaps nothing
SEIT = {**EDA, "EmbNoise": 0.5}
# TokenAdapt's samples take Mixup or CutMix.
ADAPT = {"TokenAdaptAugment": 0.5, "BatchMixup": 0.25}
SEITPP = {**EDA, "EmbNoise": 0.25, "ColorAdapt": 0.125, **ADAPT}
DCT = {"EmbNoise": 0.25, "ColorAdapt": 0.125, **ADAPT}

# Per leaf: the order of the steps that a sample passes, and the shares of the samples that are changed.
RECIPES: dict[str, tuple[str, dict[str, float]]] = {
    "mtm_vitb": (f"TokenRRC ToCodes|{ADAPTED}", {"TokenAdaptAugment": 0.5, "TokenRRC": 0.5}),
    "mtm_vit-base-p16_paper-aug_8xb512-400e_in1k-tokens": (ADAPTED, {"TokenAdaptAugment": 1.0}),
    "mtm_vit-base-p16_seit-aug_8xb512-400e_in1k-tokens": ("TokenRRC", {"TokenRRC": 1.0}),
    "seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens": (
        f"(EmbNoise|ColorAdapt) (TokenRRC BatchCutMix|{ADAPTED} {MIXED})",
        {"EmbNoise": 0.375, "ColorAdapt": 0.125, **ADAPT, "TokenRRC": 0.5},
    ),
    "seit_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens": ("TokenEDA TokenRRC EmbNoise BatchCutMix", SEIT),
    "seit_vit-base-p16_8xb128-300e_in1k-tokens": ("TokenEDA TokenRRC EmbNoise BatchCutMix", SEIT),
    "seitpp_vit-base-p16_8xb128-300e_in1k-tokens": (f"TokenEDA {FROM_SCRATCH.format(colour=CHANGES)}", SEITPP),
    "seit_vit-small-p16_coloradapt_8xb128-300e_in100-tokens": (
        f"TokenEDA TokenRRC{CHANGES} BatchCutMix",
        {**EDA, "EmbNoise": 0.25, "ColorAdapt": 0.125},
    ),
    "seit_vit-small-p16_tokenadapt_8xb128-300e_in100-tokens": (
        f"TokenEDA {FROM_SCRATCH.format(colour=' EmbNoise')}",
        {**SEIT, **ADAPT},
    ),
    "seit_vit-small-p16_pixel-aug_8xb128-300e_in100-tokens": (
        f"TokenEDA (TokenRRC EmbNoise BatchCutMix|{PIXELS} {MIXED} BatchCenterCrop EmbNoise)",
        {**SEIT, "PixelAugment": 0.5, "BatchMixup": 0.25},
    ),
    "seit_vit-base-p16_flip_8xb128-300e_in1k-tokens": (
        "TokenEDA TokenRRC BatchRandomFlip EmbNoise BatchCutMix",
        {**SEIT, "BatchRandomFlip": 0.5},
    ),
    "seit_vit-base-p16_mixup_8xb128-300e_in1k-tokens": (
        f"TokenEDA TokenRRC EmbNoise {MIXED}",
        {**SEIT, "BatchMixup": 0.5},
    ),
    "seit_vit-base-p16_no-crop_8xb128-300e_in1k-tokens": ("TokenEDA BatchCenterCrop EmbNoise BatchCutMix", SEIT),
    "seit_vit-small-p16_8xb128-300e_in100-dct": ("TokenRRC EmbNoise BatchCutMix", {"EmbNoise": 0.5}),
    "seitpp_vit-small-p16_8xb128-300e_in100-dct": (FROM_SCRATCH.format(colour=CHANGES), DCT),
    "seitpp_vit-base-p16_in1k-pre_8xb96-360e_inat2018-tokens": (
        f"(ColorAdapt )?(BatchCenterCrop BatchCutMix|{ADAPTED} {MIXED})",
        {"ColorAdapt": 0.125, **ADAPT},
    ),
}
# Of the quickstart: the same order, weaker.
RARELY_MIXED = "( BatchMixup| BatchCutMix)?"
DIGITS_ADAPTED = "TokenAdaptAugment BatchRandomAffine BatchRandomResizedCrop"
DIGITS_COLOUR = {"EmbNoise": 0.15, "ColorAdapt": 0.05}
SMALL_RECIPES: dict[str, tuple[str, dict[str, float]]] = {
    "mtm_vit-tiny-p2_1xb64-100e_digits-tokens": (f"({DIGITS_ADAPTED})?", {"TokenAdaptAugment": 0.5}),
    "seit_vit-tiny-p2_1xb64-60e_digits-tokens": (
        "TokenRRC EmbNoise( BatchCutMix)?",
        {"EmbNoise": 0.15, "BatchCutMix": 0.2},
    ),
    "seitpp_vit-tiny-p2_1xb64-60e_digits-tokens": (
        f"{DIGITS_ADAPTED}{RARELY_MIXED}{CHANGES}|(EmbNoise|ColorAdapt)?( ?BatchCutMix)?",
        {**DIGITS_COLOUR, "TokenAdaptAugment": 0.5, "BatchMixup": 0.05, "BatchCutMix": 0.15},
    ),
    "seitpp_vit-tiny-p2_mtm-100e-pre_1xb64-60e_digits-tokens": (
        f"(EmbNoise |ColorAdapt )?{DIGITS_ADAPTED}{RARELY_MIXED}|(EmbNoise|ColorAdapt)?( ?BatchCutMix)?",
        {**DIGITS_COLOUR, "TokenAdaptAugment": 0.5, "BatchMixup": 0.05, "BatchCutMix": 0.15},
    ),
}
# The second of these has the first one's pipelines at another size.
OTHER_LEAVES = ("digits", "mnist5k")
every_recipe = pytest.mark.parametrize("name", RECIPES)
every_counted = pytest.mark.parametrize("name", [*RECIPES, *SMALL_RECIPES])
STATED = {**RECIPES, **SMALL_RECIPES}
COUNTED = ("EmbNoise", "ColorAdapt", "synonyms", "swap", "TokenAdaptAugment", "PixelAugment", "BatchMixup")


@every_counted
def test_samples_pass_the_steps_in_the_stated_order(name: str) -> None:
    order, _ = STATED[name]
    for sample in range(SAMPLES):
        path = " ".join(run(name).paths[sample])
        assert re.fullmatch(order, path), path


@every_counted
def test_shares_of_changed_samples_are_the_stated_ones(name: str) -> None:
    _, stated = STATED[name]
    found = run(name).shares()
    for step in {*COUNTED, *stated}:
        expected = stated.get(step, 0.0)
        tolerance = PER_BATCH_TOLERANCE if step in PER_BATCH else TOLERANCE
        assert found.get(step, 0.0) == pytest.approx(expected, abs=tolerance if 0 < expected < 1 else 0), step


@every_counted
def test_no_sample_gets_both_of_two_that_exclude_each_other(name: str) -> None:
    changed = run(name).changed
    assert not changed["EmbNoise"] & changed["ColorAdapt"]
    assert not changed["synonyms"] & changed["swap"]


@every_recipe
def test_mixing_geometry_and_crops_are_drawn_as_the_release_draws_them(name: str) -> None:
    """One share, box, flip and affine map per batch; a crop per sample."""
    draws = run(name).draws
    for step in ("BatchMixup", "BatchCutMix", "BatchRandomFlip", "BatchRandomAffine"):
        assert draws.get(step, {1}) == {1}, step
    for step in ("TokenRRC", "BatchRandomResizedCrop"):
        assert min(draws.get(step, {BATCH})) > 1, step


@every_recipe
def test_every_sample_of_a_classifier_is_mixed(name: str) -> None:
    if name.startswith("mtm_"):
        assert not run(name).mixed
    else:  # but for the middle one of an odd part, its own partner, and boxes of no area
        assert len(run(name).mixed) > 0.95 * SAMPLES


def test_pretraining_by_the_paper_never_crops_tokens() -> None:
    assert "TokenRRC" not in {
        step for path in run("mtm_vit-base-p16_paper-aug_8xb512-400e_in1k-tokens").paths.values() for step in path
    }


def test_parts_of_the_affine_act_in_a_quarter_of_the_batches_each() -> None:
    """Half of the batches are moved at all, each part in half of these: 1.25 parts per sample."""
    parts = [
        path.count("BatchRandomAffine")
        for path in run("mtm_vit-base-p16_paper-aug_8xb512-400e_in1k-tokens").paths.values()
    ]
    moved = torch.tensor(parts, dtype=torch.float64)
    assert (moved > 0).double().mean().item() == pytest.approx(0.5 * (1 - 0.5**5), abs=0.12)
    assert moved.mean().item() == pytest.approx(1.25, abs=0.35)


def steps_of(name: str) -> object:
    """A leaf's pipeline without what depends on the tokenizer: paths and TokenAdapt's sizes."""

    def stripped(node: object) -> object:
        if isinstance(node, dict):
            return {
                key: stripped(value)
                for key, value in node.items()
                if key not in ("synonyms", "checkpoint", "token_adapt")
            }
        return [stripped(child) for child in node] if isinstance(node, (list, tuple)) else node

    return stripped(leaf(name).data_preprocessor.to_dict()["augments"])


def inherits_its_pipeline(name: str) -> bool:
    """Whether a leaf builds on another one and says nothing of augmentation; reading those would take long."""
    _, _, content = LEAVES[name].read_text().rpartition('"""')
    base = re.search(r'^_base_ = "(?:[./\w]*/)?([\w.-]+)\.py"$', content, re.MULTILINE)
    return base is not None and base[1] in LEAVES and not re.search("augment|preprocessor", content)


def test_every_other_leaf_has_the_pipeline_of_a_counted_one() -> None:
    counted = [steps_of(name) for name in RECIPES]
    leaves = [name for name in LEAVES if not any(data in name for data in OTHER_LEAVES)]
    assert len(leaves) > 30 and set(RECIPES) <= set(leaves)
    for name in leaves:
        assert inherits_its_pipeline(name) or steps_of(name) in counted, name


DOCUMENT = CONFIGS.parent / "docs" / "recipes.md"


def items_of(text: str) -> set[str]:
    """Equations, tables and figures that a text names, such as `Table 2` or `Fig. A`; `Fig. 2, 4` is two."""
    found = set()
    for kind, numbers in re.findall(
        r"(Eq\.|Tables?|Fig\.|Figures?) ((?:[0-9A-D](?:, | and )?)+)", " ".join(text.split())
    ):
        kind = {"T": "Table", "F": "Fig.", "E": "Eq."}[kind[0]]
        found |= {f"{kind} {number}" for number in re.findall("[0-9A-D]", numbers)}
    return found


def rows_of_the_document() -> list[list[str]]:
    lines = DOCUMENT.read_text().split("## MTM")[0].splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][1:]


def test_document_names_every_equation_table_and_figure() -> None:
    paper = {f"Eq. {n}" for n in "1234"} | {f"Table {n}" for n in "12345678AB"} | {f"Fig. {n}" for n in "12345ABCD"}
    assert set().union(*(items_of(row[0]) for row in rows_of_the_document())) == paper


def test_configs_that_the_document_names_exist() -> None:
    leaves = [path.stem for path in CONFIGS.rglob("*.py")]
    patterns = re.findall(r"`([\w*{},-]*(?:\*|e_in1k-tokens|mtm_vitb.py)[\w*{},-]*)`", DOCUMENT.read_text())
    assert len(patterns) > 8
    for pattern in patterns:
        pattern = pattern.removesuffix(".py")
        options = re.search(r"\{(.*?)\}", pattern)
        for option in options[1].split(",") if options else [""]:
            wanted = re.sub(r"\{.*?\}", option, pattern)
            assert any(fnmatch(leaf, wanted) or leaf == wanted for leaf in leaves), wanted


def test_readme_lists_what_the_document_says_is_missing() -> None:
    missing = set().union(
        *(items_of(row[0]) for row in rows_of_the_document() if "**not implemented**" in " ".join(row))
    )
    readme = (CONFIGS.parent / "README.md").read_text().split("## What is not here")[1].split("##")[0]
    assert items_of(readme) == missing
