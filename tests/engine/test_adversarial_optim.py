"""Two optimizers on one backward pass: the steps of two passes; rates, clipping and accumulation kept apart."""

import copy

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, build_optim_wrapper

from seitpp.engine import JointOptimWrapper


class Pair(BaseModel):
    """A tokenizer and a discriminator of one weight each, whose losses do not meet."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = torch.nn.Linear(1, 1)
        self.adversarial = torch.nn.Linear(1, 1)

    def forward(self, inputs: torch.Tensor, mode: str = "loss") -> dict[str, torch.Tensor]:
        return {"loss_one": self.tokenizer(inputs).square().mean(), "loss_two": self.adversarial(inputs).exp().mean()}


CONFIG = dict(
    type="OptimWrapper",
    constructor="seitpp.AdversarialOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
    clip_grad=dict(max_norm=0.5),
)


@pytest.fixture
def pair() -> Pair:
    torch.manual_seed(0)
    return Pair()


def test_steps_are_those_of_separate_passes(pair: Pair) -> None:
    other, inputs = copy.deepcopy(pair), torch.randn(8, 1)
    wrapper = build_optim_wrapper(pair, dict(CONFIG, discriminator=dict(optimizer=dict(lr=0.3), clip_grad=None)))
    optimizers = [
        torch.optim.SGD(other.tokenizer.parameters(), lr=0.1, momentum=0.9),
        torch.optim.SGD(other.adversarial.parameters(), lr=0.3, momentum=0.9),
    ]
    for _ in range(3):
        pair.train_step({"inputs": inputs}, wrapper)
        for number, name in enumerate(("loss_one", "loss_two")):
            optimizers[number].zero_grad()
            other(inputs)[name].backward()
            if number == 0:
                torch.nn.utils.clip_grad_norm_(other.tokenizer.parameters(), 0.5)
            optimizers[number].step()
    for one, two in zip(pair.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_accumulated_batches_are_one_step(pair: Pair) -> None:
    other, inputs = copy.deepcopy(pair), torch.randn(8, 1)
    whole = build_optim_wrapper(pair, CONFIG)
    parts = build_optim_wrapper(other, dict(CONFIG, accumulative_counts=2))
    parts.initialize_count_status(other, 0, 4)
    assert parts._accumulative_counts == 2
    for _ in range(2):
        pair.train_step({"inputs": inputs}, whole)
        for half in inputs.chunk(2):
            other.train_step({"inputs": half}, parts)
    for one, two in zip(pair.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_discriminator_differs_where_it_says_so(pair: Pair) -> None:
    wrapper = build_optim_wrapper(pair, dict(CONFIG, discriminator=dict(optimizer=dict(lr=0.3))))
    generator, discriminator = (wrapper[name].optimizer.defaults for name in ("generator", "discriminator"))
    assert (generator["lr"], discriminator["lr"], discriminator["momentum"]) == (0.1, 0.3, 0.9)
    other = build_optim_wrapper(pair, dict(CONFIG, discriminator=dict(optimizer=dict(type="Adam", lr=0.2))))
    assert isinstance(other["discriminator"].optimizer, torch.optim.Adam)
    assert wrapper.get_lr()["discriminator.lr"] == [0.3]


def test_a_model_without_discriminator_gets_a_plain_wrapper(pair: Pair) -> None:
    pair.adversarial = None
    assert type(build_optim_wrapper(pair, CONFIG)) is OptimWrapper


def test_loss_scaling_and_unequal_accumulation_are_refused(pair: Pair) -> None:
    def wrap(kind: type, part: torch.nn.Module, **options: object) -> OptimWrapper:
        return kind(optimizer=torch.optim.SGD(part.parameters(), lr=0.1), **options)

    with pytest.raises(ValueError, match=r"accumulative_counts are \{'generator': 1, 'discriminator': 2\}"):
        JointOptimWrapper(
            generator=wrap(OptimWrapper, pair.tokenizer),
            discriminator=wrap(OptimWrapper, pair.adversarial, accumulative_counts=2),
        )
    scaled = wrap(OptimWrapper, pair.tokenizer)
    scaled.loss_scaler = object()  # as AmpOptimWrapper's, which needs a GPU to be built
    assert "loss_scaler" in AmpOptimWrapper.__init__.__code__.co_names
    with pytest.raises(ValueError, match="cannot be trained with AmpOptimWrapper"):
        JointOptimWrapper(generator=scaled)


def test_clipping_by_value_is_that_of_both(pair: Pair) -> None:
    wrapper = build_optim_wrapper(pair, dict(CONFIG, clip_grad=dict(type="value", clip_value=0.1)))
    pair.train_step({"inputs": torch.full((8, 1), 9.0)}, wrapper)
    assert all(one.clip_func is torch.nn.utils.clip_grad_value_ for one in wrapper.values())
