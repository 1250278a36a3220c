"""Training of models whose weights and moments do not fit one GPU: torch's FSDP through mmengine's `FlexibleRunner`."""

import warnings
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

from seitpp.engine.config_checks import name_and_scope
from seitpp.registry import STRATEGIES

# Checkpoints hold whole tensors, as those of any other run; each process gathers them, since guards compare them all.
_WHOLE = {
    "state_dict_type": "FULL_STATE_DICT",
    "state_dict_config": {"type": "FullStateDictConfig", "offload_to_cpu": True},
    "optim_state_dict_config": {"type": "FullOptimStateDictConfig", "offload_to_cpu": True},
}


def check_sharding(config: Config) -> None:
    """Take sharding out of a config that runs without a launcher; refuse one that averages sharded weights."""
    if not name_and_scope(config.get("strategy"))[0].endswith("FSDPStrategy"):
        return
    if config.get("launcher", "none") == "none":
        print_log(
            "There is one process: weights are not sharded (bash tools/dist_train.sh CONFIG GPUS does).", "current"
        )
        for key in ("runner_type", "strategy"):
            config.pop(key, None)
        return
    hooks = [*(config.get("default_hooks") or {}).values(), *(config.get("custom_hooks") or [])]
    if any(name_and_scope(hook)[0].endswith("EMAHook") for hook in hooks):
        raise ValueError(
            "the config averages weights (EMAHook) and shards them (strategy), and no process holds all of them to "
            "average; leave the hook out, or train without strategy and runner_type"
        )


@STRATEGIES.register_module(name="FSDPStrategy")
class BlockFSDPStrategy(FSDPStrategy):
    """mmengine's `FSDPStrategy`, a block of the transformers at a time, with checkpoints of whole tensors.

    Groups of weights (layer decay, no decay of biases) are those of the model before it is sharded: then each weight
    is a piece of one axis, and mmengine's constructor would take it for a bias. A checkpoint is the one of a run
    without sharding, and each goes on from the other's.

    Args:
        model_wrapper: Options of torch's `FullyShardedDataParallel`, as `mmengine.MMFullyShardedDataParallel` takes.
        **kwargs: mmengine's other options.
    """

    def __init__(self, *, model_wrapper: dict | None = None, **kwargs: Any) -> None:
        wrapper = {
            "type": "MMFullyShardedDataParallel",
            "auto_wrap_policy": ModuleWrapPolicy({TransformerEncoderLayer}),
            **(model_wrapper or {}),
        }
        if not torch.cuda.is_available():
            wrapper["device_id"] = torch.device("cpu")
        super().__init__(**{"model_wrapper": wrapper, "state_dict_cfg": _WHOLE, **kwargs})

    def prepare(self, model: nn.Module | dict, *, optim_wrapper: Any = None, **kwargs: Any) -> tuple:
        """Build the optimizer of the model, then shard the model, whose weights stay the same objects."""
        warnings.filterwarnings("ignore", message=r"FSDP\.(set_)?state_dict_type", category=FutureWarning)
        warnings.filterwarnings("ignore", message="offload_to_cpu=True and rank0_only=False")  # as _WHOLE means it
        if not self._prepared and isinstance(optim_wrapper, dict):
            if optim_wrapper.get("clip_grad"):
                raise ValueError(
                    f"optim_wrapper.clip_grad is {optim_wrapper['clip_grad']}, which would clip each process's share "
                    "of a sharded gradient by itself; leave it out, or train without the strategy"
                )
            model = self.build_model(model)
            optim_wrapper = build_optim_wrapper(model, optim_wrapper)
        return super().prepare(model, optim_wrapper=optim_wrapper, **kwargs)

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper, model: nn.Module | None = None) -> OptimWrapper:
        """Return the wrapper that `prepare` built."""
        return optim_wrapper

    def _names(self) -> list[str]:
        """Return the names of the optimizer's weights in the order of its groups, as its state numbers them."""
        groups = self.optim_wrapper.optimizer.param_groups
        return [self.id_to_name[id(weight)] for group in groups for weight in group["params"]]

    def optim_state_dict(self) -> dict:
        """Return the state of the whole optimizer, as a run without sharding writes it."""
        numbers, optimizer = {name: number for number, name in enumerate(self._names())}, self.optim_wrapper.optimizer
        whole: dict[int, dict[str, Any]] = {number: {} for number in numbers.values()}
        own = optimizer.state_dict()
        # One kind of moment at a time: torch gathers all kinds into one buffer, which on a CPU is the result itself.
        for kind in dict.fromkeys(kind for values in own["state"].values() for kind in values):
            part = {number: {kind: values[kind]} for number, values in own["state"].items()}
            found = FullyShardedDataParallel.optim_state_dict(self.model, optimizer, {**own, "state": part})
            for name, values in found["state"].items():
                whole[numbers[name]].update(values)
        return {**self.optim_wrapper.state_dict(), "state": {key: value for key, value in whole.items() if value}}

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load each process's share of the state of a whole optimizer."""
        names, optimizer = self._names(), self.optim_wrapper.optimizer
        named = {
            **{key: value for key, value in state_dict.items() if key != "base_param_settings"},
            "state": {names[number]: value for number, value in state_dict["state"].items()},
            "param_groups": [
                {**group, "params": [names[number] for number in group["params"]]}
                for group in state_dict["param_groups"]
            ],
        }
        own = FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, named)
        self.optim_wrapper.load_state_dict({**state_dict, **own})
