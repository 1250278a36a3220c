"""What every augmentation of a batch is, and how several are put together.

Drawing and applying are apart, so that one draw can act on codes, embeddings, TokenAdapt's map, pixels, label maps and
soft targets alike. `transform` follows mmcv's contract, on a whole batch, as the data preprocessor runs it.
"""

import inspect
import math
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from torch import Tensor, nn

from seitpp.registry import TRANSFORMS
from seitpp.structures.batch import PER_SAMPLE_KEYS
from seitpp.tokenizers.codebook import NEAREST_CODES

Grid: TypeAlias = tuple[int, int]  # rows and columns
Device: TypeAlias = torch.device | str
Generator: TypeAlias = torch.Generator | None
ROUNDING = 1e-6  # of probabilities that are written as decimal fractions


class Augmentation(BaseTransform):
    """A step of the pipeline of whole batches; shows its options, and may have functions that run faster compiled.

    `seitpp.CompileHook` (`--compile`) asks for compilation. Only deterministic functions are compiled, so that draws
    are the same with and without.
    """

    # Names of the methods and functions of the class to compile.
    compilable: tuple[str, ...] = ()

    def compile(self, options: Mapping[str, Any]) -> bool:
        """Let the functions be compiled when they are first called; return whether there are any.

        Of the options of `torch.compile`, `backend`, `dynamic` and `disable` apply: modes serve matrix products, and
        CUDA graphs would overwrite a result in use.
        """
        chosen = {key: options[key] for key in ("backend", "dynamic", "disable") if key in options}
        for name in self.compilable:
            setattr(self, name, _compiled(getattr(self, name), chosen))
        return bool(self.compilable)

    def networks(self) -> list[nn.Module]:
        """Return the frozen networks that it has loaded so far."""
        return []

    def __repr__(self) -> str:
        names = [name for name in inspect.signature(type(self)).parameters if hasattr(self, name)]
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


def _compiled(function: Callable[..., Tensor], options: Mapping[str, Any]) -> Callable[..., Tensor]:
    """Compile a function whose first argument may be codes as stores keep them; inductor takes no type like uint16."""
    compiled = torch.compile(function, **options)

    def run(values: Tensor, *others: Any) -> Tensor:
        if values.dtype in (torch.uint16, torch.uint32):
            return compiled(values.int(), *others).to(values.dtype)
        return compiled(values, *others)

    return run


class BatchTransform(Augmentation):
    """Draws once for a batch, then applies the draw to anything that shows the same images.

    Modified keys: `inputs`; `gt_sem_seg` if there is one; where samples are mixed also `gt_score`, which is made from
    `gt_label` if absent.
    """

    # Whether `apply` may act on code indices as they are (flip, CutMix); else codes are embedded first.
    on_codes: bool = False
    # Whether samples are mixed: then targets become soft and are mixed alike.
    mixes: bool = False

    @abstractmethod
    def sample(self, batch_size: int, grid: Grid, device: Device = "cpu", generator: Generator = None) -> Any:
        """Draw the parameters of B samples, all at once, for a map of rows x columns (`grid`).

        Returns a frozen dataclass of tensors whose first axis is B; it holds for any resolution of the same images. The
        device's default generator draws where none is given.
        """

    @abstractmethod
    def apply(self, maps: Tensor, params: Any) -> Tensor:
        """Apply drawn parameters, deterministically, to float maps (B, C, H, W) of any resolution of the same images.

        Takes codes (B, H, W), too, if `on_codes`. Returns maps of the same type.
        """

    def apply_labels(self, labels: Tensor, params: Any) -> Tensor:
        """Move label maps (B, h, w) of any integer type and resolution as `apply` moves maps, never interpolating."""
        return labels

    def apply_scores(self, scores: Tensor, params: Any) -> Tensor:
        """Return soft targets (B, classes) of the transformed batch; unchanged unless samples are mixed."""
        return scores

    def apply_codes(self, codes: Tensor, codebook: Tensor | None, params: Any) -> Tensor:
        """Transform codes (B, H, W): as they are if `on_codes`, else through their embeddings."""
        return self.apply(codes if self.on_codes else as_embeddings(codes, codebook, type(self).__name__), params)

    def out_grid(self, grid: Grid) -> Grid:
        """Return the rows and columns that a map of `grid` has after the transform."""
        return grid

    def transform(self, results: dict) -> dict:
        """Draw for the batch and apply to its inputs, label maps and targets; see the class for the keys."""
        inputs, labels = results["inputs"], results.get("gt_sem_seg")
        params = self.sample(len(inputs), tuple(inputs.shape[-2:]), inputs.device)
        if labels is not None:
            results["gt_sem_seg"] = self.apply_labels(labels, params)
        if self.mixes and (scores := class_scores(results)) is not None:
            results["gt_score"] = self.apply_scores(scores, params)
        if inputs.is_floating_point():
            results["inputs"] = self.apply(inputs, params)
        else:
            results["inputs"] = self.apply_codes(inputs, results.get("codebook"), params)
        return results


class SpatialTransform(BatchTransform):
    """A transform that moves positions, with one draw per sample, or per batch as the authors' code has it."""

    def __init__(self, per_sample: bool = True) -> None:
        self.per_sample = per_sample

    @abstractmethod
    def draw(self, batch_size: int, grid: Grid, device: Device, generator: Generator) -> Any:
        """Draw for each sample; see `sample`."""

    def sample(self, batch_size: int, grid: Grid, device: Device = "cpu", generator: Generator = None) -> Any:
        if self.per_sample:
            return self.draw(batch_size, grid, device, generator)
        drawn = self.draw(1, grid, device, generator)
        tensors = {name: value for name, value in vars(drawn).items() if isinstance(value, Tensor)}
        return replace(drawn, **{name: value.expand(batch_size, *value.shape[1:]) for name, value in tensors.items()})


def embed_codes(codes: Tensor, codebook: Tensor) -> Tensor:
    """Look codes (B, H, W), of any integer type, up as maps (B, D, H, W)."""
    return F.embedding(codes.int(), codebook).permute(0, 3, 1, 2)


def as_embeddings(inputs: Tensor, codebook: Tensor | None, who: str) -> Tensor:
    """Return the inputs of a batch as maps (B, D, H, W): codes (B, H, W) are looked up, float maps stay."""
    if inputs.is_floating_point():
        return inputs
    if codebook is None:
        raise ValueError(
            f"{who} acts on embeddings, but the inputs are {inputs.dtype} codes and the batch has no `codebook`; give "
            "the data preprocessor a codebook, or float inputs"
        )
    return embed_codes(inputs, codebook)


def check_probability(name: str, value: float) -> float:
    """Return the value of the option `name`, which must lie in [0, 1]."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1], got {value!r}")
    return value


def class_scores(results: Mapping) -> Tensor | None:
    """Return the soft targets of a batch, (B, classes): `gt_score`, else all weight on each label of `gt_label`.

    None for a batch without targets (self-supervised); `ValueError` where there are labels and no `num_classes`.
    """
    if results.get("gt_score") is not None:
        return results["gt_score"]
    labels = results.get("gt_label")
    if labels is None:
        return None
    if results.get("num_classes") is None:
        raise ValueError(
            "mixing samples makes soft targets, which need the number of classes, and the batch has no `num_classes`; "
            "set the data preprocessor's num_classes"
        )
    scores = torch.zeros(len(labels), results["num_classes"], device=labels.device)
    return scores.scatter_(1, labels.long()[:, None], 1.0)


def _build(configs: dict | Sequence[dict]) -> list:
    return [TRANSFORMS.build(cfg) for cfg in ([configs] if isinstance(configs, dict) else configs)]


def _run(transforms: Sequence, results: dict) -> dict:
    for transform in transforms:
        results = transform(results)
    return results


@TRANSFORMS.register_module()
class SplitBatch(Augmentation):
    """Send one part of the batch through some transforms and the rest through others, and put them together again.

    The order of samples stays. Where one part ends as codes and the other as embeddings, codes are looked up; where
    one part has soft targets, the other gets its labels as such. What is not in `PER_SAMPLE_KEYS` is shared: both parts
    get it as it is.

    Required and modified keys: those of the transforms. Added key: `split`, True for the samples of `first`, (B,),
    bool, on the CPU; required by `by="same"`.

    Args:
        first: Configs of the transforms of the first part; may be empty.
        second: Configs of those of the rest.
        share: Part of the batch for `first`.
        by: `half`: the first samples, share x B rounded (a half upwards) - the loader has shuffled them; or
            `probability`: each sample by a draw of its own, so that the parts differ in size from batch to batch; or
            `same`: the parts of the SplitBatch before it in the pipeline, for a pipeline with steps of the whole batch
            between steps of the parts. `share` then plays no role.
    """

    def __init__(
        self,
        first: Sequence[dict],
        second: Sequence[dict],
        share: float = 0.5,
        by: Literal["half", "probability", "same"] = "half",
    ) -> None:
        if by not in ("half", "probability", "same"):
            raise ValueError(f"by must be 'half', 'probability' or 'same', got {by!r}")
        self.first, self.second = _build(first), _build(second)
        self.share, self.by = check_probability("share", share), by

    @property
    def children(self) -> list:
        return [*self.first, *self.second]

    def transform(self, results: dict) -> dict:
        batch_size, device = len(results["inputs"]), results["inputs"].device
        chosen = self._choose(batch_size, results.get("split"))
        count = int(chosen.sum())
        if count in (0, batch_size):
            return {**_run(self.first if count else self.second, {**results, "split": None}), "split": chosen}
        in_order = bool(chosen[:count].all())
        order = torch.argsort(~chosen, stable=True)
        parts = (slice(None, count), slice(count, None))
        if not in_order:
            parts = tuple(order[part].to(device, non_blocking=True) for part in parts)
        done = []
        for transforms, part in zip((self.first, self.second), parts, strict=True):
            own = {key: results[key][part] for key in PER_SAMPLE_KEYS if results.get(key) is not None}
            done.append(_run(transforms, {**results, **own, "split": None}))  # a part is not divided yet
        merged = _merge(done)
        if not in_order:
            back = order.argsort().to(device, non_blocking=True)
            merged |= {key: merged[key][back] for key in PER_SAMPLE_KEYS if merged.get(key) is not None}
        return {**merged, "split": chosen}

    def _choose(self, batch_size: int, before: Tensor | None) -> Tensor:
        """Choose the samples of `first`, (B,), bool; on the CPU, since the host would have to wait for a device."""
        if self.by == "half":
            return torch.arange(batch_size) < math.floor(batch_size * self.share + 0.5)
        if self.by == "probability":
            return torch.rand(batch_size) < self.share
        if before is None or len(before) != batch_size:
            raise ValueError(
                "SplitBatch(by='same') repeats the parts of the SplitBatch before it, and no SplitBatch has divided "
                f"this batch of {batch_size} samples; put one with by='half' or by='probability' before it"
            )
        return before


def _merge(parts: list[dict]) -> dict:
    merged = {**parts[0], **parts[1]}
    for key in PER_SAMPLE_KEYS:
        values = [part.get(key) for part in parts]
        if all(value is None for value in values):
            continue
        if key == "inputs":
            values = _as_one_kind(values, merged.get("codebook"))
        elif key == "gt_score":
            values = [class_scores(part) for part in parts]
        if any(value is None for value in values):
            raise ValueError(f"only one part of SplitBatch ends with {key!r}; let both keep it, or both remove it")
        first, second = (tuple(value.shape[1:]) for value in values)
        if first != second:
            raise ValueError(
                f"the parts of SplitBatch end with {key!r} of {first} and {second} per sample, which cannot be put "
                "together; end both with the same size, for instance with a seitpp.TokenRRC or a "
                "seitpp.BatchCenterCrop of that size in each"
            )
        merged[key] = torch.cat(values)
    return merged


def _as_one_kind(inputs: list[Tensor], codebook: Tensor | None) -> list[Tensor]:
    """Return two parts' inputs as one kind: both codes of one type, or both maps."""
    floating = [values.is_floating_point() for values in inputs]
    if all(floating) or inputs[0].dtype == inputs[1].dtype:
        return inputs
    if not any(floating):
        return [codes.long() for codes in inputs]
    if codebook is None:
        raise ValueError(
            "one part of SplitBatch ends with codes and the other with embeddings, and the batch has no `codebook` to "
            "look codes up in; give the data preprocessor a codebook, or end both parts alike"
        )
    return [values if values.is_floating_point() else embed_codes(values, codebook) for values in inputs]


@TRANSFORMS.register_module()
class OneOf(Augmentation):
    """Choose one of several transforms for a batch; required and modified keys are theirs.

    Args:
        transforms: The choices: configs, or lists of configs that go together.
        probs: Probability of each; what they leave to 1 is the probability that nothing is done. By default all alike.
    """

    def __init__(self, transforms: Sequence[dict | Sequence[dict]], probs: Sequence[float] | None = None) -> None:
        if not transforms:
            raise ValueError("transforms is empty, expected at least one choice")
        probs = [1 / len(transforms)] * len(transforms) if probs is None else list(probs)
        if len(probs) != len(transforms):
            raise ValueError(f"probs are {probs} for {len(transforms)} transforms, expected one for each")
        if not all(prob >= 0 for prob in probs) or not sum(probs) <= 1 + ROUNDING:
            raise ValueError(f"probs are {probs} with the sum {sum(probs):g}, expected at least 0 each and 1 in all")
        self.transforms, self.probs = [_build(choice) for choice in transforms], probs

    @property
    def children(self) -> list:
        return [transform for choice in self.transforms for transform in choice]

    def transform(self, results: dict) -> dict:
        ends = list(accumulate(self.probs))
        total = 1.0 if ends[-1] < 1 - ROUNDING else ends[-1]  # nothing is left over by rounding
        chosen = bisect_right(ends, torch.rand((), dtype=torch.float64).item() * total)
        return results if chosen == len(self.transforms) else _run(self.transforms[chosen], results)


@TRANSFORMS.register_module()
class RandomApply(Augmentation):
    """Apply transforms to a batch with the probability `prob`; required and modified keys are theirs."""

    def __init__(self, transforms: dict | Sequence[dict], prob: float = 0.5) -> None:
        self.transforms = self.children = _build(transforms)
        self.prob = check_probability("prob", prob)

    def transform(self, results: dict) -> dict:
        return _run(self.transforms, results) if torch.rand(()).item() < self.prob else results


@TRANSFORMS.register_module()
class ToCodes(Augmentation):
    """Quantise embeddings (B, D, H, W) to the nearest codes (B, H, W), int64; codes stay as they are.

    Required keys: `inputs` and, for embeddings, `codebook`; optional key: `distance`, `cosine` if absent; modified key:
    `inputs`.
    """

    def transform(self, results: dict) -> dict:
        inputs = results["inputs"]
        if inputs.is_floating_point():
            codebook, nearest = results.get("codebook"), NEAREST_CODES[results.get("distance", "cosine")]
            if codebook is None:
                raise ValueError(
                    "ToCodes looks for the nearest codes, and the batch has no `codebook`; give the data preprocessor "
                    "one, or leave ToCodes out"
                )
            results["inputs"] = nearest(inputs.permute(0, 2, 3, 1), codebook)
        return results
