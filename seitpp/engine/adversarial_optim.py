"""Two optimizers for one backward pass: of a tokenizer and of the discriminator that trains with it."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from torch import nn

from seitpp.registry import OPTIM_WRAPPER_CONSTRUCTORS


class JointOptimWrapper(OptimWrapperDict):
    """Optimizer wrappers of networks whose losses have no gradient in each other, stepped together.

    The gradient of the sum is in each network that of its own loss, so one backward pass serves all, and mmengine's
    `train_step`, DDP and accumulation work as with one optimizer; clipping, rates and moments are each optimizer's own.
    Adversarial training is simultaneous: the discriminator sees the tokenizer's reconstructions before its step.

    Args:
        **optim_wrappers: Wrappers without loss scaling, with equal accumulation.
    """

    def __init__(self, **optim_wrappers: OptimWrapper) -> None:
        super().__init__(**optim_wrappers)
        if any(hasattr(wrapper, "loss_scaler") for wrapper in self.values()):
            raise ValueError(
                "a discriminator cannot be trained with AmpOptimWrapper, which scales each loss; use "
                "seitpp.AutocastOptimWrapper (--amp)"
            )
        counts = {name: wrapper._accumulative_counts for name, wrapper in self.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"accumulative_counts are {counts}; they must be equal")

    @property
    def _leader(self) -> OptimWrapper:
        return next(iter(self.values()))

    @property
    def _accumulative_counts(self) -> int:
        return self._leader._accumulative_counts

    def should_update(self) -> bool:
        """Return whether the batch that was just back-propagated ended a step."""
        return self._leader.should_update()

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Accumulation and autocast, of the first wrapper."""
        with self._leader.optim_context(model):
            yield

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Set where accumulation stands, after a resume too."""
        for wrapper in self.values():
            wrapper.initialize_count_status(model, init_counts, max_counts)

    def update_params(
        self, loss: torch.Tensor, step_kwargs: dict[str, Any] | None = None, zero_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Back-propagate the sum of all losses and, unless batches are accumulated, step every optimizer."""
        leader = self._leader
        leader.backward(leader.scale_loss(loss))
        if self.should_update():
            for wrapper in self.values():
                wrapper.step(**(step_kwargs or {}))
                wrapper.zero_grad(**(zero_kwargs or {}))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class AdversarialOptimWrapperConstructor:
    """Builds the optimizers of a model with an `adversarial` part: `generator` for all else, `discriminator` for it.

    Without such a part the result is mmengine's plain wrapper.

    Args:
        optim_wrapper_cfg: The generator's wrapper, as mmengine takes it; its `discriminator` holds what differs for
            the discriminator, such as `dict(optimizer=dict(lr=1e-5))`.
        paramwise_cfg: mmengine's, for both.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        generator = dict(optim_wrapper_cfg)
        changes = dict(generator.pop("discriminator", None) or {})
        # The generator's clipping comes with it; None switches it off.
        discriminator = {**generator, **changes}
        if "optimizer" in changes:
            optimizer = changes["optimizer"]
            same_type = optimizer.get("type", generator["optimizer"]["type"]) == generator["optimizer"]["type"]
            discriminator["optimizer"] = {**(generator["optimizer"] if same_type else {}), **optimizer}
        self._options = {"generator": generator, "discriminator": discriminator}
        self._paramwise = paramwise_cfg

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper of a model, which may be wrapped for DDP."""
        model = getattr(model, "module", model)
        if getattr(model, "adversarial", None) is None:
            return self._build("generator", model)
        rest = nn.Module()  # a view: modules may have several parents
        for name, child in model.named_children():
            if name != "adversarial":
                rest.add_module(name, child)
        return JointOptimWrapper(
            generator=self._build("generator", rest), discriminator=self._build("discriminator", model.adversarial)
        )

    def _build(self, name: str, part: nn.Module) -> OptimWrapper:
        options = copy.deepcopy(self._options[name])  # mmengine takes `type` out of `clip_grad`, which both share
        return DefaultOptimWrapperConstructor(options, self._paramwise)(part)
