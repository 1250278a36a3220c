"""A training step on a device never waits for it: no number is read back, no Python list is copied there."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.shrinking import build_model
from seitpp.augment import PixelAugment, TokenAdaptAugment
from seitpp.engine import FiniteGuardHook, LateRuntimeInfoHook, StepEMAHook
from seitpp.engine.config_changes import use_guards
from seitpp.structures.transform_tree import walk

DEVICE = torch.device("meta")  # whose tensors have no values, so that reading one is an error


class Copies(TorchDispatchMode):
    """Refuses copies to the device that wait for it; the loader's batch may go, if it does not block."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            target, source = (result, args[0]) if func is torch.ops.aten._to_copy.default else args[:2]
            waits = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
            if source.device != target.device and waits:
                raise AssertionError(f"a copy of {tuple(source.shape)} from {source.device} to {target.device} waits")
        return result


class Literals(TorchFunctionMode):
    """Refuses tensors that are made on the device of Python's values, each of which is a copy that waits."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        made = func in (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
        result = func(*args, **kwargs)
        if made and result.device == DEVICE and not (isinstance(args[0], Tensor) and args[0].device == DEVICE):
            raise AssertionError(f"torch.{func.__name__}({args[0]!r}) on the device waits for it")
        return result


@pytest.fixture
def what_the_device_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device has no autocast to be switched off, and no kernel of this draw."""
    monkeypatch.setattr(torch, "_sample_dirichlet", lambda values, _generator: torch.rand_like(values))
    autocast = torch.autocast
    monkeypatch.setattr(
        torch,
        "autocast",
        lambda device, *args, **options: nullcontext() if device == "meta" else autocast(device, *args, **options),
    )
    enabled = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device != "meta" and enabled(device))


@pytest.fixture
def step(what_the_device_lacks: None, unformatted_configs: None, tmp_path: Path) -> Callable[[Config], None]:
    """Makes a step of a config on the device, with clipping, average and log, after one that may read its files."""

    def run(cfg: Config) -> None:
        torch.manual_seed(0)
        model = build_model(cfg).train()
        if hasattr(model, "_tokenizer"):
            tokenizer = model.tokenizer().to(DEVICE)  # no part of the model, and checked once, with the values
            model.tokenizer = lambda: tokenizer
            model._scaled = True  # by the first step of all, which reads its batch
        model.to(DEVICE)
        preprocessor = model.data_preprocessor
        for transform in walk(getattr(preprocessor, "augments", ())):
            if isinstance(transform, TokenAdaptAugment):
                shape = (1, 32, 32) if preprocessor.channels is None else (1, preprocessor.channels, 32, 32)
                tokens = torch.zeros(shape, dtype=torch.float32 if preprocessor.codebook is None else torch.int64)
                transform.load_for(tokens, preprocessor.codebook)
                transform._shared.codebook_sha256 = None  # compared once, with the values
            if getattr(transform, "by", None) == "probability":
                transform.by = "half"  # in a batch this small a part may be empty
            if isinstance(transform, PixelAugment):  # the same, and positions of the grid are made
                transform({"inputs": torch.zeros(1, 32, 32, dtype=torch.int64, device=DEVICE)})
        cfg.optim_wrapper.optimizer.pop("fused", None)
        cfg.optim_wrapper.clip_grad = dict(max_norm=1.0)
        use_guards(cfg)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        runner = SimpleNamespace(
            model=model,
            optim_wrapper=wrapper,
            iter=0,
            hooks=[],
            message_hub=MessageHub.get_instance(str(tmp_path)),
            work_dir=str(tmp_path),
            max_iters=9,
        )
        wrapper.message_hub = runner.message_hub
        guard, average = FiniteGuardHook(), StepEMAHook(momentum=1e-3)
        average.before_run(runner)
        guard._weights = {"all": next(model.parameters())}
        batches = iter(Runner.build_dataloader(cfg.train_dataloader))
        for modes in ((), (Copies(), Literals())):
            batch = next(batches)
            with modes[0] if modes else nullcontext(), modes[1] if modes else nullcontext():
                outputs = model.train_step(batch, wrapper)
                for hook in (LateRuntimeInfoHook(), average, guard):
                    hook.after_train_iter(runner, runner.iter, batch, outputs)
            runner.iter += 1
        assert {"train/loss", "train/grad_norm"} <= set(runner.message_hub.log_scalars)

    return run


@pytest.mark.parametrize(
    "leaf",
    [
        "mtm/mtm_vit-base-p16_8xb512-400e_in1k-tokens.py",
        "seitpp/seitpp_vit-base-p16_8xb128-300e_in1k-tokens.py",
        "tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px.py",
        *[
            pytest.param(leaf, marks=pytest.mark.slow)
            for leaf in (
                "seit/seit_vit-base-p16_8xb128-300e_in1k-tokens.py",
                "seitpp/seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py",
                "seitpp/seitpp_vit-small-p16_8xb128-300e_in100-dct.py",
                "seit/seit_vit-small-p16_pixel-aug_8xb128-300e_in100-tokens.py",
                "tokenadapt/tokenadapt_d384_1xb128-1e_in1k-dct-256px.py",
                "tokenadapt/tokenadapt_d384_1xb128-1e_in1k-token-pairs.py",
            )
        ],
    ],
)
def test_a_step_never_waits_for_the_device(
    leaf: str, tiny: Callable, repository: Path, step: Callable[[Config], None]
) -> None:
    step(Config.fromfile(tiny(repository / "configs" / leaf)))
