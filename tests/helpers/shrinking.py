"""Configs shrunken to sizes that a CPU trains in seconds."""

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from seitpp.benchmarking.synthetic import (
    IMAGE_SIZE,
    augments_named,
    save_state,
    sides_of,
    tokenizers_of_pixels,
    use_random_networks,
    with_synthetic_data,
)
from seitpp.io.config_file import dicts_in
from seitpp.registry import MODELS
from seitpp.token_pairs.maker import make_token_pairs
from seitpp.tokenizers.vqgan import ARCHS

# What `shrink` makes of a network: widths and heads where a config names them, and the blocks of every stack.
_SMALL_WIDTH, _SMALL_HEADS, _SMALL_DEPTH = 16, 2, 2
_WIDTH_KEYS = (
    "embed_dims",
    "embed_dim",
    "decoder_embed_dims",
    "in_channels",
    "input_features",
    "channels",
    "feedforward_channels",
    "base_channels",
)
_DEPTH_KEYS = ("num_layers", "depth", "frozen_stages")
# Of a tokenizer's stacks, which say `dims`; and of its images and codes.
_SMALL_STACK = {"dims": _SMALL_WIDTH, "depth": _SMALL_DEPTH, "num_heads": _SMALL_HEADS, "head_dims": 8, "mlp_dims": 32}
_SMALL_IMAGE, _SMALL_CODEBOOK = 32, 16
_SMALL_GRID = 16  # tokens of a side where label maps are read
_PATCH = 8  # of tokenizers that do not say
# Of a VQGAN's networks, whose normalisation has 32 groups.
_SMALL_VQGAN = {"channels": 32, "num_res_blocks": 1, "attention_at": ()}
# Networks that have few depths to choose from, and stay as they are.
_FIXED_NETWORKS = ("VGG", "ResNet")
_PERCEPTUAL = "perceptual.backbone"


def shrink(
    cfg: Config,
    data_dir: str | Path,
    *,
    num_samples: int = 4,
    batch_size: int = 2,
    epochs: int = 2,
    checkpoint: str | Path | None = None,
) -> Config:
    """A copy of a leaf config that trains on a CPU in seconds: everything it names stays, only sizes change.

    Networks become narrow and two blocks deep, epochs few (schedules in proportion), data synthetic, and each
    pre-trained checkpoint one of random weights, unless `checkpoint` is given; frozen tokenizers and TokenAdapts
    always have random weights.

    Args:
        cfg: A leaf config.
        data_dir: Where synthetic data and checkpoints lie or are made, and the work folder.
        num_samples: Samples of the training set; other sets have one more.
        batch_size: Of every loader.
        epochs: Epochs, or half the iterations of a run by iteration.
        checkpoint: Takes the place of every pre-trained checkpoint, such as one that a shrunken config trained.

    Returns:
        The copy.
    """
    cfg = copy.deepcopy(cfg)
    if "token_adapt" in cfg.model:
        _shrink_grids(cfg)
    if any(str(part.get("type")).endswith("TokenSegDataset") for part in dicts_in(cfg.get("train_dataloader"))):
        _shrink_token_maps(cfg)
    cfg = with_synthetic_data(cfg, data_dir, num_samples)
    for part in list(dicts_in(cfg.model)):  # before, so that what is replaced is not shrunk again
        if str(part.get("type")).split(".")[-1] not in _FIXED_NETWORKS:
            _shrink_network(part)
    for augment in augments_named(cfg, "TokenAdaptAugment"):
        _shrink_network(augment.token_adapt)
    for tokenizer in tokenizers_of_pixels(cfg):
        _shrink_network(tokenizer)
    if "tokenizer" in cfg.model:
        _shrink_images(cfg)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if cfg.get(name) is not None:
            cfg[name].update(batch_size=batch_size, num_workers=0)
            if "samples_per_step" in cfg[name].sampler:
                cfg[name].sampler.samples_per_step = num_samples
    for hook in cfg.default_hooks.values():
        if "dataset" in hook:
            hook.batch_size = batch_size
    if cfg.get("train_cfg") is not None:
        _shrink_schedule(cfg, epochs)
    use_random_networks(cfg, Path(data_dir))
    if "token_adapt" in cfg.model:
        _use_synthetic_pairs(cfg, Path(data_dir))
    cfg.default_hooks.logger.interval = 1
    cfg.work_dir = str(Path(data_dir) / "work_dir")
    _replace_checkpoints(cfg, Path(data_dir), checkpoint)
    return cfg


def _use_synthetic_pairs(cfg: Config, data_dir: Path) -> None:
    """Token pairs where a config trains from them, of the model and the validation images as they are now.

    In groups of two, of which there are as many as images but one, two batches of two by default.
    """
    dataset = cfg.train_dataloader.dataset
    if not str(dataset.get("type")).endswith("TokenPairDataset"):
        return
    dataset.data_root = str(data_dir / dataset.get("data_root", ""))
    path = Path(dataset.data_root, dataset.store)
    if not path.exists():
        images = copy.deepcopy(cfg)
        images.train_dataloader = {**cfg.val_dataloader, "num_workers": 0}
        with torch.random.fork_rng(), DefaultScope.overwrite_default_scope(cfg.default_scope):
            make_token_pairs(images, path, epochs=2, group_size=2)


def _shrink_images(cfg: Config) -> None:
    """Fewer pixels and codes where images are read."""
    for part in dicts_in(
        [cfg.model.tokenizer, cfg.train_dataloader, cfg.get("val_dataloader"), cfg.get("test_dataloader")]
    ):
        for key, small in (
            ("image_size", _SMALL_IMAGE),
            ("crop_size", _SMALL_IMAGE),
            ("scale", _SMALL_IMAGE),
            ("codebook_size", _SMALL_CODEBOOK),
        ):
            if isinstance(part.get(key), int):
                part[key] = min(part[key], small)
            elif isinstance(part.get(key), (list, tuple)) and all(isinstance(side, int) for side in part[key]):
                part[key] = tuple(min(side, small) for side in part[key])
        if "num_workers" in part:
            part["num_workers"] = 0


def _shrink_token_maps(cfg: Config) -> None:
    """Fewer tokens where a network segments them, and where TokenAdapt augments them; no workers."""
    backbone = cfg.model.backbone
    before = max(sides_of(backbone.grid_size))
    for part in [backbone, *dicts_in(cfg.data_preprocessor.get("augments"))]:
        for key in ("grid_size", "grid", "out_grid", "size"):
            if key in part:
                part[key] = tuple(side * min(before, _SMALL_GRID) // before for side in sides_of(part[key]))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if cfg.get(name) is not None:
            cfg[name].update(num_workers=0, persistent_workers=False)


def _small_vqgan(arch: str | dict) -> dict:
    sizes = {**ARCHS[arch], **_SMALL_VQGAN} if isinstance(arch, str) else {**arch, **_SMALL_VQGAN}
    return {**sizes, "multipliers": tuple(1 for _ in sizes["multipliers"]), "codebook_size": _SMALL_CODEBOOK}


def _shrink_grids(cfg: Config) -> None:
    """Fewer pixels, codes and tokens where TokenAdapt is trained, and crops that leave as many places as are needed."""
    model, adapt, tokenizer = cfg.model, cfg.model.token_adapt, cfg.model.tokenizer
    tokenizer.setdefault("image_size", IMAGE_SIZE)
    if str(tokenizer.type).endswith("VQGAN") and "arch" in tokenizer and not str(tokenizer.type).endswith("ViTVQGAN"):
        tokenizer.arch = _small_vqgan(tokenizer.arch)
    elif "codebook" not in tokenizer and adapt.codebook_size is not None:
        tokenizer.setdefault("codebook_size", adapt.codebook_size)
    _shrink_images(cfg)
    if adapt.codebook_size is not None:
        adapt.codebook_size = min(adapt.codebook_size, _SMALL_CODEBOOK)
    before, kept = sides_of(adapt.grid), sides_of(adapt.out_grid)
    grid = tuple(side // tokenizer.get("patch_size", _PATCH) for side in sides_of(tokenizer.image_size))
    out_grid = tuple(max(1, side * new // old) for side, new, old in zip(kept, grid, before, strict=True))
    adapt.grid, adapt.out_grid = grid, out_grid
    for augment in dicts_in([model.augments, model.get("eval_augments")]):
        if "size" in augment:
            sides = zip(sides_of(augment["size"]), out_grid, kept, strict=True)
            augment["size"] = tuple(size * new // old for size, new, old in sides)


def _shrink_network(part: dict) -> None:
    if "multipliers" in part:
        return  # a VQGAN's sizes, which are small already
    depth = max(_SMALL_DEPTH, len(part["out_indices"]) if isinstance(part.get("out_indices"), (list, tuple)) else 0)
    if str(part.get("type")).endswith("ViTVQGAN"):
        part["arch"] = {"encoder": dict(_SMALL_STACK), "decoder": dict(_SMALL_STACK)}
    elif str(part.get("type")).endswith("TokenAdapt"):
        part.update({**_SMALL_STACK, "depth": part.get("depth", 1)})
    elif "arch" in part and not str(part.get("type")).endswith("VQGAN"):
        sizes = {"embed_dims": _SMALL_WIDTH, "num_heads": _SMALL_HEADS, "feedforward_channels": 2 * _SMALL_WIDTH}
        part["arch"] = {**sizes, "num_layers": depth}
    if isinstance(part.get("out_indices"), (list, tuple)):
        part["out_indices"] = list(range(depth))[-len(part["out_indices"]) :]
    for key in _WIDTH_KEYS:
        if isinstance(part.get(key), (list, tuple)):
            part[key] = [min(width, _SMALL_WIDTH) for width in part[key]]
        elif isinstance(part.get(key), int):
            part[key] = min(part[key], _SMALL_WIDTH)
    for key, small in [*((key, depth) for key in _DEPTH_KEYS), ("num_heads", _SMALL_HEADS)]:
        if isinstance(part.get(key), int):
            part[key] = min(part[key], small)


def _shrink_schedule(cfg: Config, epochs: int) -> None:
    unit, length = ("max_epochs", epochs) if "max_epochs" in cfg.train_cfg else ("max_iters", 2 * epochs)
    ratio = length / cfg.train_cfg[unit]
    cfg.train_cfg[unit] = length
    cfg.train_cfg.val_interval = 1 if unit == "max_epochs" else epochs
    if "max_epochs" in cfg:
        cfg.max_epochs = length
    for scheduler in dicts_in(cfg.get("param_scheduler")):
        for key in ("begin", "end", "T_max"):
            if key in scheduler:
                scheduler[key] = math.ceil(scheduler[key] * ratio)
        if "warmup" in scheduler:
            scheduler.warmup = scheduler.warmup * ratio


def build_model(cfg: Config) -> torch.nn.Module:
    """The model as mmengine's runner would build it, with the config's data preprocessor; not initialised."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = copy.deepcopy(cfg.model)
        model.setdefault("data_preprocessor", copy.deepcopy(cfg.get("data_preprocessor")))
        return MODELS.build(model)


def _replace_checkpoints(cfg: Config, data_dir: Path, given: str | Path | None) -> None:
    """Point every pre-trained checkpoint to `given`, or to random weights of the part that asks for them."""
    owners = dict(_pretrained_parts(cfg.model))
    if not owners and cfg.get("load_from") is None:
        return
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = copy.deepcopy(cfg)
        for name, part in _pretrained_parts(plain.model):
            if name != _PERCEPTUAL:  # without weights it is refused, and building it reads none
                part.init_cfg = None
        model = build_model(plain)
    for name, part in owners.items():
        weights = {part.init_cfg.get("prefix", "") + key: value for key, value in _state_of(model, name).items()}
        part.init_cfg.checkpoint = str(given or save_state(weights, data_dir / f"pretrained-{name}.pth"))
    if cfg.get("load_from") is not None:
        cfg.load_from = str(given or save_state(_state_of(model, ""), data_dir / "pretrained.pth"))


def _pretrained_parts(node: Any, name: str = "") -> Iterator[tuple[str, ConfigDict]]:
    """Parts whose `init_cfg` names a checkpoint, by their module name."""
    if not isinstance(node, dict):
        return
    if isinstance(node.get("init_cfg"), dict) and node["init_cfg"].get("type") == "Pretrained":
        yield name, node
    for key, child in node.items():
        yield from _pretrained_parts(child, f"{name}.{key}".lstrip("."))


def _state_of(model: torch.nn.Module, name: str) -> dict[str, torch.Tensor]:
    if name == _PERCEPTUAL:  # not among the modules
        return model.perceptual.network.state_dict()
    return model.get_submodule(name).state_dict()
