"""What every batch augmentation is: parameters drawn once, then applied to all that shows the same images.

Drawing and applying are apart so that one draw can act on codes, embeddings, TokenAdapt's map, pixels, label maps and
soft targets alike. `transform` is mmcv's contract on a whole batch, as the data preprocessor runs it.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from torch import Tensor

ROUNDING = 1e-6  # of probabilities that are written as decimal fractions


class CompilableTransform(BaseTransform):
    """A transform with functions that run faster compiled, which `seitpp.CompileHook` (`--compile`) asks for.

    Only deterministic functions are compiled, so that draws are the same with and without.
    """

    # Names of the methods and functions of the class to compile.
    compilable: tuple[str, ...] = ()

    def compile(self, options: Mapping[str, Any]) -> bool:
        """Let the functions be compiled when they are first called.

        Args:
            options: Options of `torch.compile`. Of these, `backend`, `dynamic` and `disable` apply; modes serve matrix
                products, and CUDA graphs would overwrite a result that is still in use.

        Returns:
            Whether there is anything to compile.
        """
        chosen = {key: options[key] for key in ("backend", "dynamic", "disable") if key in options}
        for name in self.compilable:
            setattr(self, name, torch.compile(getattr(self, name), **chosen))
        return bool(self.compilable)


class BatchTransform(CompilableTransform):
    """Draw once for a batch, then apply to anything that shows the same images.

    Modified keys: `inputs`; `gt_sem_seg` where there is one; where samples are mixed also `gt_score`, which is made
    from `gt_label` if absent.
    """

    # Whether `apply` may act on code indices as they are (flip, CutMix); else codes are embedded first.
    on_codes: bool = False
    # Whether samples are mixed: then targets become soft and are mixed alike.
    mixes: bool = False

    @abstractmethod
    def sample(
        self,
        batch_size: int,
        places: tuple[int, int],
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> Any:
        """Draw the parameters of a batch, all at once.

        Args:
            batch_size: Number of samples B.
            places: Rows and columns of the map that is drawn for.
            device: Where to draw.
            generator: Source of randomness; the device's default generator if None.

        Returns:
            A frozen dataclass of tensors whose first axis is B; it holds for any resolution of the same images.
        """

    @abstractmethod
    def apply(self, maps: Tensor, params: Any) -> Tensor:
        """Apply drawn parameters, deterministically.

        Args:
            maps: (B, C, H, W) float, of any resolution of the images drawn for; codes (B, H, W), too, if `on_codes`.
            params: What `sample` gave.

        Returns:
            Maps of the same type.
        """

    def apply_labels(self, labels: Tensor, params: Any) -> Tensor:
        """Label maps (B, h, w) of any integer type and resolution, moved as `apply` moves maps; never interpolated.

        Unchanged unless a transform moves or mixes places.
        """
        return labels

    def apply_scores(self, scores: Tensor, params: Any) -> Tensor:
        """Soft targets (B, classes) of the transformed batch; unchanged unless samples are mixed."""
        return scores

    def apply_codes(self, codes: Tensor, codebook: Tensor | None, params: Any) -> Tensor:
        """What `transform` does to codes (B, H, W): as they are if `on_codes`, else through their embeddings."""
        return self.apply(codes if self.on_codes else as_embeddings(codes, codebook, type(self).__name__), params)

    def out_places(self, places: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the result for a map of `places`."""
        return places

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


def embed_codes(codes: Tensor, codebook: Tensor) -> Tensor:
    """Codebook rows of codes (B, H, W), of any integer type, as maps (B, D, H, W)."""
    return F.embedding(codes.int(), codebook).permute(0, 3, 1, 2)


def as_embeddings(inputs: Tensor, codebook: Tensor | None, who: str) -> Tensor:
    """Inputs of a batch as maps (B, D, H, W): codes (B, H, W) are looked up.

    Args:
        inputs: Codes, or floating-point maps, which stay as they are.
        codebook: (K, D); None where the batch has none.
        who: Name of the transform that asks, for the message.

    Raises:
        ValueError: The inputs are codes, and there is no codebook.
    """
    if inputs.is_floating_point():
        return inputs
    if codebook is None:
        raise ValueError(
            f"{who} acts on embeddings, but the inputs are {inputs.dtype} codes and the batch has no `codebook`; give "
            "the data preprocessor a codebook, or float inputs"
        )
    return embed_codes(inputs, codebook)


def check_probability(name: str, value: float) -> float:
    """The value, which must lie in [0, 1]; `name` is that of the option, for the message."""
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1], got {value!r}")
    return value


def class_scores(results: Mapping) -> Tensor | None:
    """Soft targets of a batch: what was mixed before, else all weight on each label.

    Args:
        results: A batch; reads `gt_score`, else `gt_label` (B,) and `num_classes`.

    Returns:
        (B, classes), float, each row summing to 1; None for a batch without targets (self-supervised).

    Raises:
        ValueError: There are labels, but `num_classes` is missing.
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
