"""Which keys of a part of a config something reads: parameters of the class that it names, or of what takes it.

What takes a part is named as `module:attribute` and imported when it is asked for, so that this module is quick to
import and knows of all floors without depending on them.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import mmengine.registry as root

_RUNNER, _LOADER = "mmengine.runner:Runner", "torch.utils.data:DataLoader"
# What mmengine reads of a config beside the parameters of `Runner`, and before all else.
_RUN = (
    *("activation_checkpointing", "compile", "custom_imports", "efficient_conv_bn_eval", "find_unused_parameters"),
    *("model_wrapper_cfg", "runner_type", "sync_bn"),
)
_TOKENIZING = ("custom_imports", "default_scope", "experiment_name", "tokenizer")
# What reads a dict at the root that names no type.
_LOOPS = {
    "train_cfg": ("mmengine.runner:EpochBasedTrainLoop", "mmengine.runner:IterBasedTrainLoop"),
    "val_cfg": ("mmengine.runner:ValLoop",),
    "test_cfg": ("mmengine.runner:TestLoop",),
}
_BESIDE_LOADER = ("collate_fn", "dataset", "disable_subprocess_warning", "num_batch_per_epoch", "sampler")
_GIVEN = {"self", "runner", "dataloader"}
# Dicts that name no type, by their own name: what takes them, or the keys that it reads. None: any key.
_PLAIN: dict[str, str | Sequence[str] | None] = {
    "adversarial": "seitpp.models.vq.patch_discriminator:AdversarialLoss",
    "auto_scale_lr": ("base_batch_size", "enable", "rule"),
    "batch_augments": ("augments", "probs"),
    "clip_grad": ("clip_value", "error_if_nonfinite", "foreach", "max_norm", "norm_type", "type"),
    "codebook": "seitpp.models.vq.codebook_update:CodebookUpdate",
    "compile": None,
    "data_preprocessor": None,  # whose class is the model's to choose, and which takes its own options only
    "custom_imports": ("allow_failed_imports", "imports"),
    "custom_keys": None,
    "dist_cfg": ("backend", "init_backend", "init_method", "rank", "timeout", "world_size"),
    "discriminator": None,  # what is not there is the generator's, and what it does not take is an error
    "env_cfg": ("cudnn_benchmark", "dist_cfg", "mp_cfg", "resource_limit"),
    "eval_augments": None,
    "flip": "seitpp.augment.token_adapt:TokenAdaptAugment",
    "fit": ("codebook_size", "num_images", "seed"),
    "init_cfg": ("type",),  # which the other keys depend on
    "mask_ratio": "seitpp.models.mtm.masking:TruncatedNormalRatio",
    "metainfo": None,
    "mp_cfg": ("mp_start_method", "opencv_num_threads"),
    "paramwise_cfg": (
        *("bias_decay_mult", "bias_lr_mult", "bypass_duplicate", "custom_keys", "dcn_offset_lr_mult"),
        *("decay_rate", "decay_type", "dwconv_decay_mult", "flat_decay_mult", "layer_decay_rate", "norm_decay_mult"),
        "num_layers",
    ),
    "optimizer": None,
    "patch_cfg": "mmpretrain.models.utils:PatchEmbed",
    "perceptual": ("allow_random", "backbone", "layer_weights", "mean", "std", "weight"),
    "randomness": ("deterministic", "diff_rank_seed", "seed"),
    "subset": "seitpp.storage.subset:choose_subset",
    "task_metrics": None,
    "test_cfg": ("crop_size", "flip", "keep_logits", "mode", "stride", "windows_at_once"),  # a segmentor's
    "token_adapt": "seitpp.models.token_adapt.token_adapt:TokenAdapt",
    "train_cfg": ("augments", "probs"),  # a classifier's
}
# Keys of dicts with a type that are read before the class is built.
_ANYWHERE = {"type", "_scope_", "_delete_"}
_BEFORE = {
    "HOOKS": {"priority"},
    "OPTIM_WRAPPERS": {"constructor", "discriminator", "optimizer", "paramwise_cfg"},
    "PARAM_SCHEDULERS": {"convert_to_iter_based", "epoch_length"},
    "WEIGHT_INITIALIZERS": {"override"},
    "LOOPS": {"by_epoch"},
}
# Registries, with the names whose dicts and lists hold types of theirs; the nearest name above a dict counts.
_KINDS = {
    "DATASETS": ("dataset",),
    "DATA_SAMPLERS": ("batch_sampler", "sampler"),
    "FUNCTIONS": ("collate_fn", "worker_init_fn"),
    "HOOKS": ("custom_hooks", "default_hooks"),
    "LOG_PROCESSORS": ("log_processor",),
    "LOOPS": ("test_cfg", "train_cfg", "val_cfg"),
    "METRICS": ("task_metrics", "test_evaluator", "val_evaluator"),
    "MODELS": ("data_preprocessor", "model", "tokenizer"),
    "MODEL_WRAPPERS": ("model_wrapper_cfg",),
    "OPTIMIZERS": ("optimizer",),
    "OPTIM_WRAPPERS": ("optim_wrapper",),
    "PARAM_SCHEDULERS": ("param_scheduler",),
    "TRANSFORMS": ("augments", "first", "pipeline", "second"),
    "VISBACKENDS": ("vis_backends",),
    "VISUALIZERS": ("visualizer",),
    "WEIGHT_INITIALIZERS": ("init_cfg",),
}
_KIND_BELOW = {name: kind for kind, names in _KINDS.items() for name in names}

# Bases whose constructors take any option and hand none on: `nn.Module` refuses them, and mmengine's checkpoint hook
# passes them to a function that fails on them when it first saves.
_LAST = {("torch.nn.modules.module", "Module"): False, ("mmengine.hooks.checkpoint_hook", "CheckpointHook"): True}


def root_keys(tokenizing: bool = False) -> set[str]:
    """Return the keys of a whole config: of one that is run, or of one of a tokenizer."""
    return set(_TOKENIZING) if tokenizing else (_constructor_keys(_attribute(_RUNNER)) - {"cfg"}) | set(_RUN)


def keys_read(node: Mapping[str, Any], path: Sequence[str], scope: str | None) -> set[str] | None:
    """Return the keys that whatever reads a dict of a config knows; None where any may be meant.

    Keys and indices, at least one, lead to it by `path`; it is empty where the config does not have it. `scope` is that
    of types without a prefix.
    """
    name, kind = path[-1], _kind(path)
    if "custom_keys" in path:  # below are names of weights
        return {"lr_mult", "decay_mult"} if name != "custom_keys" else None
    at_root = len(path) == 1
    if at_root and name == "model_wrapper_cfg" and "type" not in node:
        node = {**node, "type": "mmengine.MMDistributedDataParallel"}
    if at_root and name.endswith("_dataloader"):
        return _constructor_keys(_attribute(_LOADER)) | set(_BESIDE_LOADER)
    if at_root and name in _LOOPS and "type" not in node:
        keys = set().union(*(_constructor_keys(_attribute(loop)) for loop in _LOOPS[name]))
        return keys - _GIVEN | _ANYWHERE | {"by_epoch"}
    if "type" not in node and not (at_root and name == "optim_wrapper"):
        return _plain_keys(name) if node or name in _PLAIN else None
    found = _find(node.get("type", "OptimWrapper"), kind, scope)
    if found is None:  # the build will say so
        return None
    keys = _keys_of(found)
    return None if keys is None else keys | _BEFORE.get(kind, set())


def _plain_keys(name: str) -> set[str] | None:
    reader = _PLAIN.get(name, ())
    if reader is None:
        return None
    return _keys_of(_attribute(reader)) if isinstance(reader, str) else {*reader, "_delete_"}


def _keys_of(reader: Callable) -> set[str] | None:
    keys = _constructor_keys(reader) if inspect.isclass(reader) else _parameters(reader)
    return None if keys is None else keys - _GIVEN | _ANYWHERE


def _attribute(name: str) -> Callable:
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _kind(path: Sequence[str]) -> str:
    for name in reversed(path):
        if name in _KIND_BELOW and not (name in _LOOPS and path[0] == "model"):
            return _KIND_BELOW[name]
    return "MODELS"


def _find(named: Any, kind: str, scope: str | None) -> Callable | None:
    if not isinstance(named, str):
        return named if callable(named) else None
    registry = getattr(root, kind)
    with registry.switch_scope_and_registry(scope) as here:
        return here.get(named)


def _parameters(function: Callable) -> set[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name for name, parameter in inspect.signature(function).parameters.items() if parameter.kind in kinds}


def _constructor_keys(cls: type) -> set[str] | None:
    """Return the parameters of a constructor and, as far as it passes options on, of its parents'; None for any."""
    keys: set[str] = set()
    for owner in cls.__mro__:
        constructor = vars(owner).get("__init__")
        if constructor is None or owner is object:
            continue
        takes_own = _LAST.get((owner.__module__, owner.__name__))
        if takes_own is not False:
            keys |= _parameters(constructor)
        parameters = inspect.signature(constructor).parameters.values()
        if takes_own is not None or not any(one.kind is one.VAR_KEYWORD for one in parameters):
            return keys - {"self"}
    return None
