"""Composition of batch augmentations: parts of a batch, one of several, now and then; and the way back to codes."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import torch
from mmcv.transforms import BaseTransform, Compose
from torch import Tensor

from seitpp.augment.base import ROUNDING, check_probability, class_scores, embed_codes
from seitpp.registry import TRANSFORMS
from seitpp.structures.batch import PER_SAMPLE_KEYS
from seitpp.tokenizers.codebook import NEAREST_CODES


def _build(configs: dict | Sequence[dict]) -> Compose:
    return Compose([TRANSFORMS.build(cfg) for cfg in ([configs] if isinstance(configs, dict) else configs)])


@TRANSFORMS.register_module()
class SplitBatch(BaseTransform):
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
        self.first = _build(first)
        self.second = _build(second)
        self.share = check_probability("share", share)
        self.by = by

    @property
    def children(self) -> list:
        """The transforms of both parts."""
        return [*self.first.transforms, *self.second.transforms]

    def transform(self, results: dict) -> dict:
        """Split, transform, merge; see the class."""
        batch_size = len(results["inputs"])
        chosen = self._choose(batch_size, results.get("split"))
        count = int(chosen.sum())
        if count in (0, batch_size):
            return {**(self.first if count else self.second)({**results, "split": None}), "split": chosen}
        if bool(chosen[:count].all()):
            order, parts = None, (slice(None, count), slice(count, None))
        else:
            order, device = torch.argsort(~chosen, stable=True), results["inputs"].device
            parts = tuple(part.to(device, non_blocking=True) for part in (order[:count], order[count:]))
        done = []
        for transforms, part in zip((self.first, self.second), parts, strict=True):
            own = {key: results[key][part] for key in PER_SAMPLE_KEYS if results.get(key) is not None}
            done.append(transforms({**results, **own, "split": None}))  # a part is not divided yet
        merged = _merge(done)
        if order is not None:
            back = order.argsort().to(device, non_blocking=True)
            for key in PER_SAMPLE_KEYS:
                if merged.get(key) is not None:
                    merged[key] = merged[key][back]
        return {**merged, "split": chosen}

    def _choose(self, batch_size: int, before: Tensor | None) -> Tensor:
        """Which samples go to `first`, (B,), bool; on the CPU, since a device's answer would have to be waited for."""
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

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(first={self.first.transforms}, second={self.second.transforms}, "
            f"share={self.share}, by={self.by!r})"
        )


def _merge(parts: list[dict]) -> dict:
    """One batch of the two parts of another one, the first part's samples first."""
    merged = {**parts[0], **parts[1]}
    for key in PER_SAMPLE_KEYS:
        values = [part.get(key) for part in parts]
        if all(value is None for value in values):
            continue
        if key == "inputs":
            values = _alike(values, merged.get("codebook"))
        elif key == "gt_score":
            values = [class_scores(part) for part in parts]
        if any(value is None for value in values):
            raise ValueError(f"only one part of SplitBatch ends with {key!r}; let both keep it, or both remove it")
        _check_sizes(key, *values)
        merged[key] = torch.cat(values)
    return merged


def _alike(inputs: list[Tensor], codebook: Tensor | None) -> list[Tensor]:
    """Two parts' inputs as one kind: both codes of one type, or both maps."""
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


def _check_sizes(key: str, first: Tensor, second: Tensor) -> None:
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"the parts of SplitBatch end with {key!r} of {tuple(first.shape[1:])} and {tuple(second.shape[1:])} a "
            "sample, which cannot be put together; end both with the same size, for instance with a seitpp.TokenRRC or "
            "a seitpp.BatchCenterCrop of that size in each"
        )


@TRANSFORMS.register_module()
class OneOf(BaseTransform):
    """Choose one of several transforms for a batch.

    Required and modified keys: those of the transforms.

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
        self.choices = [_build(choice) for choice in transforms]
        self.probs = probs

    @property
    def children(self) -> list:
        """The transforms of all choices."""
        return [transform for choice in self.choices for transform in choice.transforms]

    def transform(self, results: dict) -> dict:
        """Draw a choice and apply it; see the class."""
        ends = list(accumulate(self.probs))
        total = 1.0 if ends[-1] < 1 - ROUNDING else ends[-1]  # nothing is left over by rounding
        chosen = bisect_right(ends, torch.rand((), dtype=torch.float64).item() * total)
        return results if chosen == len(self.choices) else self.choices[chosen](results)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(transforms={[one.transforms for one in self.choices]}, probs={self.probs})"


@TRANSFORMS.register_module()
class RandomApply(BaseTransform):
    """Apply transforms to a batch, or to none of it.

    Required and modified keys: those of the transforms.

    Args:
        transforms: Configs of the transforms.
        prob: Probability that the batch passes through them.
    """

    def __init__(self, transforms: dict | Sequence[dict], prob: float = 0.5) -> None:
        self.transforms = _build(transforms)
        self.prob = check_probability("prob", prob)

    @property
    def children(self) -> list:
        """The transforms."""
        return list(self.transforms.transforms)

    def transform(self, results: dict) -> dict:
        """Apply or not; see the class."""
        return self.transforms(results) if torch.rand(()).item() < self.prob else results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(transforms={self.children}, prob={self.prob})"


@TRANSFORMS.register_module()
class ToCodes(BaseTransform):
    """Quantise embeddings (B, D, H, W) to the nearest codes (B, H, W), int64; codes stay as they are.

    Required keys: `inputs` and, for embeddings, `codebook`; optional key: `distance`, `cosine` if absent; modified key:
    `inputs`.
    """

    def transform(self, results: dict) -> dict:
        """Quantise; see the class."""
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

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
