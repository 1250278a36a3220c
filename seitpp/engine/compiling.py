"""torch.compile for a step's networks (encoder, decoder, head, TokenAdapt) and augmentations, each on its own."""

from collections.abc import Mapping
from types import NoneType
from typing import Any

import torch
from mmcv.cnn.bricks import DropPath
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.models import VisionTransformer
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from seitpp.augment.base import Augmentation
from seitpp.engine.runs import unwrapped
from seitpp.io.text import shorten
from seitpp.layers.tanh_transformer import TanhBlock, TanhTransformer
from seitpp.models.mtm.mtm import MTMPretrainDecoder, MTMPretrainHead
from seitpp.registry import HOOKS
from seitpp.structures.transform_tree import walk

# Networks whose shapes are the same at each step. What lies between them stays eager: masks and losses, since the
# number of masked patches changes with each step.
_NETWORKS = (VisionTransformer, MTMPretrainDecoder, MTMPretrainHead, TanhTransformer)
_BLOCKS = (TransformerEncoderLayer, TanhBlock, MTMPretrainHead)
# The head sees another number of patches at each step: it is compiled once for any number.
_OF_ANY_SIZE = (MTMPretrainHead,)
_SHOWN_CHARACTERS = 200  # of torch's messages


def use_compile(config: Config) -> None:
    """Compile networks where a config says `compile=True`, or gives options of torch.compile there.

    mmengine by itself would compile the whole `train_step` with all its Python, again and again.
    """
    options = config.get("compile")
    config.compile = False
    if options is None or options is False:
        return
    if not isinstance(options, (bool, Mapping)):
        raise ValueError(f"compile is {options!r}, expected True, False or a dict of options of torch.compile")
    hook = ConfigDict(type="seitpp.CompileHook", **({} if options is True else options))
    config.default_hooks = {**(config.get("default_hooks") or {}), "compile": hook}


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile a model's networks and augmentations before training; `compile=True` or `--compile` adds this hook.

    Modules are compiled in place: weights keep their names, so that a run may go on from a checkpoint of a run without,
    and the other way round. Where the machine cannot compile, the log says why, and the run goes on uncompiled.

    Losses agree with eager ones to a relative difference of 1e-5 in float32 and 2e-3 under bfloat16 autocast, dropout
    and stochastic depth aside, which draw other numbers. Augmentations draw the same numbers: codes, crop boxes and
    labels are equal, and embeddings agree to 1e-5 relative plus 1e-5 absolute.

    Args:
        per_block: Whether to compile one block for all, not whole networks: the first steps take a fraction of the
            time, and what two blocks could do in one kernel they do in two. Always so where FSDP shards blocks.
        **options: Options of `torch.compile`, such as `mode` or `backend`.
    """

    priority = "VERY_LOW"  # after all that loads or copies the model

    def __init__(self, per_block: bool = False, **options: Any) -> None:
        if not isinstance(per_block, bool):
            raise ValueError(f"compile.per_block is {per_block!r}, expected True or False")
        _check_options(options)
        self.per_block, self.options = per_block, options

    def before_train(self, runner: Runner) -> None:
        """Set up compilation, which the first steps then do."""
        device = next(runner.model.parameters()).device
        per_block = self.per_block or isinstance(runner.model, FullyShardedDataParallel)
        if reason := why_not_compiled(device, self.options):
            runner.logger.warning(f"Training goes on uncompiled, torch.compile does not work here: {reason}")
        elif names := compile_networks(runner.model, self.options, per_block):
            runner.logger.info(f"The first steps compile {shorten(names, 4)}, and take longer.")
        else:
            runner.logger.warning(f"Nothing is compiled: {type(runner.model).__name__} has no network to compile.")


def compile_networks(model: nn.Module, options: dict[str, Any], per_block: bool = False) -> list[str]:
    """Set up compilation of a model's networks and of its augmentations; return the names of what is compiled.

    Arguments are those of `CompileHook`; the model may be wrapped for DDP.
    """
    names, kinds = [], _BLOCKS if per_block else _NETWORKS
    model = unwrapped(model)
    for name, network in model.named_modules():
        if isinstance(network, kinds):
            _compile(network, options)
            names.append(name)
    augments = getattr(getattr(model, "data_preprocessor", None), "augments", None)
    for transform in () if augments is None else walk(augments):
        if isinstance(transform, Augmentation) and transform.compile(options):
            names.append(type(transform).__name__)
    return names


def _compile(network: nn.Module, options: dict[str, Any]) -> None:
    for part in network.modules():
        if isinstance(part, DropPath):  # a numpy number, as mmpretrain draws it up, would split the graph at each block
            part.drop_prob = float(part.drop_prob)
    network.compile(**{**({"dynamic": True} if isinstance(network, _OF_ANY_SIZE) else {}), **options})


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse mistyped options of torch.compile, with which a run would go on uncompiled."""
    for name in ("fullgraph", "dynamic", "disable"):
        if not isinstance(value := options.get(name), (bool, NoneType)):
            raise ValueError(f"compile.{name} is {value!r}, expected True or False")
    backend = options.get("backend", "inductor")
    if not isinstance(backend, str) and not callable(backend):
        raise ValueError(f"compile.backend is {backend!r}, expected the name of a backend of torch.compile")
    try:
        torch.compile(_probe, **options)
    except Exception as error:  # each option has its own kinds
        message = str(error).partition("\n")[0][:_SHOWN_CHARACTERS]
        raise ValueError(f"torch.compile does not take compile={dict(options)}: {message}") from error


def why_not_compiled(device: torch.device, options: dict[str, Any]) -> str | None:
    """Return in one line why a machine cannot compile (no C++ compiler, no Triton, an old GPU); None if it can.

    Compiles and differentiates a line to find out, since each of many parts may be missing.
    """
    x = torch.ones(8, device=device, requires_grad=True)
    try:
        torch.compile(_probe, **options)(x).backward()
    except Exception as error:  # each compiler has its own kinds
        return f"{type(error).__name__}: {' '.join(str(error).split())[:_SHOWN_CHARACTERS]}"
    return None


def _probe(x: Tensor) -> Tensor:
    return (x.sin() * 2).sum()
