"""Training steps of a config, on their own: no runner, no hooks, no checkpoints, random weights."""

import copy
import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import seitpp.engine
import seitpp.models  # noqa: F401
from seitpp.benchmarking.plain import use_explicit_attention, use_plain_loss
from seitpp.engine.compiling import compile_networks, why_not_compiled
from seitpp.engine.config_changes import use_autocast
from seitpp.layers.checkpointed_layer import CheckpointedLayer
from seitpp.registry import MODELS

PHASES = ("data", "augmentation", "forward", "backward", "optimizer")
_COUNTED = 8  # samples that operations are counted of


class PhaseClock:
    """Time of each phase of steps, by CUDA events on a GPU, which is not waited for, and by a clock on a CPU.

    On a GPU a phase lasts from the end of the one before on the device, so that work of the host counts as far as the
    device waits for it. Time starts with the object.
    """

    def __init__(self, device: str, cpu_clock: Callable[[], float] = time.perf_counter) -> None:
        self._on_gpu = torch.device(device).type == "cuda"
        self._cpu_clock = cpu_clock
        self._marks: list[tuple[str, Any]] = []
        self.mark("")

    def mark(self, phase: str) -> None:
        now: Any = torch.cuda.Event(enable_timing=True) if self._on_gpu else self._cpu_clock()
        if self._on_gpu:
            now.record()
        self._marks.append((phase, now))

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each phase so far; waits for the device."""
        if self._on_gpu:
            torch.cuda.synchronize()
        spent = dict.fromkeys(PHASES, 0.0)
        for (_, before), (phase, now) in itertools.pairwise(self._marks):
            spent[phase] += before.elapsed_time(now) / 1e3 if self._on_gpu else now - before
        return spent


class TrainingStep:
    """One step of a config: mmengine's `train_step` on the next batch, or forward, backward and optimizer alone.

    Candidates share the loader. `precision` is `float32`, `bfloat16` (autocast) or, on a GPU, `float16` (autocast with
    a loss scale); `plain` takes the formulation of `seitpp.benchmarking.plain`; `compiled` compiles as `--compile` of
    tools/train.py does, or raises `RuntimeError`.
    """

    def __init__(
        self,
        config: Config,
        loader: DataLoader,
        device: str,
        precision: str = "float32",
        plain: bool = False,
        compiled: bool = False,
    ) -> None:
        config = copy.deepcopy(config)
        if plain:
            use_plain_loss(config)
            config.optim_wrapper.optimizer.pop("fused", None)
        if precision == "bfloat16":
            use_autocast(config)
        elif precision == "float16":
            config.optim_wrapper.update(type="mmengine.AmpOptimWrapper", loss_scale="dynamic")
        self.model = build_training_model(config, loader, device)
        if plain:
            use_explicit_attention(self.model)
        if compiled:
            given = config.get("compile")
            options = dict(given) if isinstance(given, dict) else {}
            per_block = options.pop("per_block", False)
            if reason := why_not_compiled(torch.device(device), options):
                raise RuntimeError(f"torch.compile does not work here: {reason}")
            compile_networks(self.model, options, per_block)
        self.wrapper: OptimWrapper = build_optim_wrapper(self.model, config.optim_wrapper)
        self._batches = itertools.chain.from_iterable(itertools.repeat(loader))
        self._device = device
        self._clock: PhaseClock | None = None
        self.model.data_preprocessor.register_forward_hook(lambda *_: self._mark("augmentation"))
        self.model.register_forward_hook(lambda *_: self._mark("forward"))
        for wrapper in self.wrapper.values() if hasattr(self.wrapper, "values") else [self.wrapper]:
            wrapper.optimizer.register_step_pre_hook(lambda *_: self._mark("backward"))
        self._resident = self.model.data_preprocessor(next(self._batches), True)
        self._batches_per_step = config.optim_wrapper.get("accumulative_counts", 1)
        self._batch_size = len(self._resident["inputs"])
        self.samples_per_step, self.num_samples = self._batch_size * self._batches_per_step, len(loader.dataset)

    def _mark(self, phase: str) -> None:
        if self._clock is not None:
            self._clock.mark(phase)

    def run(self, steps: int, cpu_clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
        """Train as in a run, and return the seconds of each phase."""
        self._clock = clock = PhaseClock(self._device, cpu_clock)
        for _ in range(steps * self._batches_per_step):
            batch = next(self._batches)
            clock.mark("data")
            self.model.train_step(batch, self.wrapper)
            clock.mark("optimizer")
        self._clock = None
        return clock.seconds()

    def run_model(self, steps: int) -> None:
        """Train on one batch that is augmented and on the device already."""
        for _ in range(steps * self._batches_per_step):
            self.wrapper.update_params(self._loss())

    def _loss(self, samples: int | None = None) -> torch.Tensor:
        prepared = {key: value if value is None else value[:samples] for key, value in self._resident.items()}
        with self.wrapper.optim_context(self.model):
            losses = self.model(**prepared, mode="loss")
        return self.model.parse_losses(losses)[0]

    def flops_per_image(self) -> int:
        """Return the operations of forward and backward pass, two for each multiplication with its addition.

        Counts attention as its two products, which fused kernels of a CPU do not report, without compilation, which
        hides operations, and without what activation checkpointing repeats.
        """
        torch.manual_seed(0)  # of the ratio that MTM hides
        samples = min(_COUNTED, self._batch_size)  # whose activations fit without checkpointing
        repeated = [module for module in self.model.modules() if isinstance(module, CheckpointedLayer)]
        for module in repeated:
            module.__class__ = TransformerEncoderLayer
        operations = _count_flops(lambda: self.wrapper.backward(self.wrapper.scale_loss(self._loss(samples))))
        self.wrapper.zero_grad()
        for module in repeated:
            module.__class__ = CheckpointedLayer
        return operations // samples

    def augmentation_flops_per_image(self) -> int:
        """Return the operations of the data preprocessor on one batch; look-ups and interpolations are none."""
        batch = next(self._batches)
        return _count_flops(lambda: self.model.data_preprocessor(batch, True)) // self._batch_size


def _count_flops(run: Callable[[], object]) -> int:
    eager, attention = torch.compiler.set_stance("force_eager"), sdpa_kernel(SDPBackend.MATH)
    with eager, attention, FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def build_loader(config: Config) -> DataLoader:
    with DefaultScope.overwrite_default_scope(config.get("default_scope")):
        loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    if len(loader) == 0:
        raise ValueError(f"the {len(loader.dataset)} training samples do not fill a batch of {loader.batch_size}")
    return loader


def build_training_model(config: Config, loader: DataLoader, device: str) -> BaseModel:
    """Build the model with its data preprocessor, on the device, in training mode, with random weights."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(config.get("default_scope")):
        model_config = copy.deepcopy(config.model)
        model_config.setdefault("data_preprocessor", copy.deepcopy(config.get("data_preprocessor")))
        model: BaseModel = MODELS.build(model_config)
    preprocessor, dataset = model.data_preprocessor, loader.dataset
    model.to(device).train()
    if hasattr(preprocessor, "fit"):
        preprocessor.fit(dataset)
    for part in (model, preprocessor):
        if hasattr(part, "prepare_training"):
            part.prepare_training(getattr(dataset, "metainfo", None) or {}, getattr(dataset, "store_path", "the data"))
    return model
