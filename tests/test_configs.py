"""Every config: builds at full size, trains and validates when shrunk, and states the recipe's numbers."""

import ast
import copy
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import make_seg_store, make_store, with_synthetic_data
from seitpp.engine.run_summary import run_summary
from seitpp.engine.stores import use_stores
from seitpp.models import TokenDataPreprocessor
from seitpp.registry import MODELS
from seitpp.storage import StoreWriter
from seitpp.tokenizers import PatchKMeans

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
LEAVES = sorted(path for path in CONFIGS.rglob("*.py") if "_base_" not in path.relative_to(CONFIGS).parts)
REQUIRED = [
    "seitpp/mtm_vitb.py",
    "mtm/mtm_vit-base-p16_8xb512-400e_in1k-tokens.py",
    "mtm/mtm_vit-base-p16_8xb128-accum4-400e_in1k-tokens.py",
    "seitpp/seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py",
]
MTM, MTM_ACCUMULATED, FINETUNE = REQUIRED[1:]
SEIT = "seit/seit_vit-base-p16_8xb128-300e_in1k-tokens.py"
SEITPP = "seitpp/seitpp_vit-base-p16_8xb128-300e_in1k-tokens.py"
SEIT_MTM = "seit/seit_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py"
PIXELS = "pixels/vit-base-p16_8xb128-300e_in1k-pixels.py"
IN100 = "{0}/{0}_vit-small-p16_8xb128-300e_in100-tokens.py"
TRANSFER = "{0}/{0}_vit-base-p16_in1k-pre_8xb96-{1}_{2}-tokens.py"
FLOWERS, INAT = TRANSFER.format("seit", "1000e", "flowers102"), TRANSFER.format("seitpp", "360e", "inat2018")
ALIASES = {"seitpp/mtm_vitb.py": MTM}

# Configs of tokenizers alone, which nothing here trains; tests/tokenizers/test_tokenizer_configs.py runs them.
TOKENIZERS = {
    "block_dct_q50",
    "ldm_vq_f16",
    "ldm_vq_f4",
    "ldm_vq_f4_noattn",
    "ldm_vq_f8",
    "ldm_vq_f8_n256",
    "llamagen_vq16",
    "llamagen_vq8",
    "seit_vitvqgan",
    "vitvqgan_base",
    "vitvqgan_small",
    "vqgan_f16_1024",
    "vqgan_f16_16384",
    "vqgan_gumbel_f8",
}
LOADED = {path: Config.fromfile(path) for path in LEAVES}  # once: reading takes longer than most tests
TOKENIZER_LEAVES = [path for path in LEAVES if "tokenizer" in LOADED[path] and "model" not in LOADED[path]]
MODEL_LEAVES = [path for path in LEAVES if path not in TOKENIZER_LEAVES]

# Of encoders that are scored as they are: nothing in them trains.
TESTED_LEAVES = [path for path in MODEL_LEAVES if "train_cfg" not in LOADED[path]]
TRAINED_LEAVES = [path for path in MODEL_LEAVES if path not in TESTED_LEAVES]


every_leaf = pytest.mark.parametrize("path", LEAVES, ids=lambda path: path.stem)
every_model = pytest.mark.parametrize("path", MODEL_LEAVES, ids=lambda path: path.stem)
every_trained = pytest.mark.parametrize(
    "path",
    [  # those of the study differ in little, and its own slow test trains them all
        pytest.param(path, marks=pytest.mark.slow if path.parent.name == "study" else []) for path in TRAINED_LEAVES
    ],
    ids=lambda path: path.stem,
)


def load(name: str | Path) -> Config:
    path = CONFIGS / name
    return copy.deepcopy(LOADED[path]) if path in LOADED else Config.fromfile(path)


def test_leaves_are_found() -> None:
    assert set(REQUIRED) <= {path.relative_to(CONFIGS).as_posix() for path in MODEL_LEAVES}
    assert {path.stem for path in TOKENIZER_LEAVES if path.parent.name == "tokenizers"} >= TOKENIZERS
    assert all("model" in LOADED[path] for path in MODEL_LEAVES)


@every_leaf
def test_leaf_opens_with_a_docstring_and_its_command(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text
    if path.relative_to(CONFIGS).as_posix() not in ALIASES:
        assert re.search(r"(bash|python) tools/\w+\.(sh|py)\b", text)


@pytest.mark.parametrize(("alias", "full"), ALIASES.items())
def test_alias_loads_the_same_content(alias: str, full: str) -> None:
    assert load(alias)._cfg_dict == load(full)._cfg_dict
    assert len(ast.parse((CONFIGS / alias).read_text()).body) == 2  # the docstring and `_base_`


@every_model
def test_full_size_model_and_its_parameter_groups_build(path: Path, tmp_path: Path) -> None:
    cfg = with_synthetic_data(load(path), tmp_path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        preprocessor = MODELS.build(cfg.data_preprocessor)
        with torch.device("meta"):
            model = MODELS.build({**cfg.model, "data_preprocessor": preprocessor})
        if path in TESTED_LEAVES:
            return
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    wrappers = list(wrapper.values()) if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    groups = [group for one in wrappers for group in one.optimizer.param_groups]
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    trained = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(grouped) == sorted(trained)


@pytest.mark.filterwarnings("ignore:Detected call of .scheduler.step:UserWarning")  # at accumulated batches
@every_trained
def test_shrunken_leaf_trains_and_validates(
    path: Path, tmp_path: Path, build_runner: Callable[[Config], Runner]
) -> None:
    runner = build_runner(shrink(load(path), tmp_path, epochs=1))
    runner.train()
    assert "-" not in run_summary(runner).values()
    assert runner.iter == len(runner.train_dataloader) >= 2
    scalars = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    assert math.isfinite(scalars["train/loss"])
    metrics = [
        value for name, value in scalars.items() if re.fullmatch(r"val/.*(accuracy|loss|nll|perplexity|mIoU).*", name)
    ]
    assert metrics
    assert all(math.isfinite(value) for value in metrics)


@pytest.mark.slow
def test_full_size_classifier_of_pixels_takes_steps(tmp_path: Path, build_runner: Callable[[Config], Runner]) -> None:
    cfg = with_synthetic_data(load(PIXELS), tmp_path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=2, num_workers=0)
    cfg.merge_from_dict({"train_cfg.max_epochs": 1, "param_scheduler.end": 1, "param_scheduler.warmup": 0.5})
    cfg.work_dir = str(tmp_path / "work_dir")
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 2
    assert sum(parameter.numel() for parameter in runner.model.parameters()) == 86_567_656  # timm's deit_base


@pytest.mark.parametrize("path", TESTED_LEAVES, ids=lambda path: path.stem)
def test_shrunken_leaf_without_training_tests(
    path: Path, tmp_path: Path, build_runner: Callable[[Config], Runner]
) -> None:
    metrics = build_runner(shrink(load(path), tmp_path)).test()
    neighbours = {"k10_accuracy/top1", "k20_accuracy/top5"}
    assert (neighbours if path.stem.startswith("knn_") else {"accuracy/top1", "accuracy/top5"}) <= metrics.keys()
    assert all(0 <= value <= 100 for value in metrics.values())


@pytest.fixture(scope="module")
def own_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A store of one's own per kind of recipe: no size is one that a config names, and no grid is square."""
    folder = tmp_path_factory.mktemp("stores")
    tokenizer = PatchKMeans(image_size=(24, 40), patch_size=2, codebook=torch.rand(18, 12))
    options = dict(codebook_size=18, grid=(12, 20), codebook=tokenizer.codebook.numpy(), tokenizer=tokenizer.describe())
    with StoreWriter(folder / "codes", label_kind="class", classes=["a", "b", "c"], **options) as writer:
        writer.append(np.zeros((3, 12, 20), int), np.arange(3))
    seg = make_seg_store(folder / "seg", 2, grid=(12, 20), codebook_size=18, code_dim=12, num_classes=3)
    channels = make_store(folder / "channels", 3, grid=(12, 20), channels=7, num_classes=3)
    return {"codes": folder / "codes", "seg": seg, "channels": channels}


@every_leaf
def test_leaf_takes_a_store_of_ones_own_or_says_why_not(path: Path, own_stores: dict[str, Path]) -> None:
    cfg = load(path)
    if "model" not in cfg or cfg.model.type == "seitpp.VQTokenizerTrainer":
        with pytest.raises(ValueError, match=f"--store: .*{path.stem}.py is that of a tokenizer, which knows images"):
            use_stores(cfg, own_stores["codes"])
        return
    if path.stem.endswith("-pixels"):
        with pytest.raises(ValueError, match=f"--store: .*{path.stem}.py reads no token store"):
            use_stores(cfg, own_stores["codes"])
        return
    kind = (
        "seg"
        if "decode_head" in cfg.model
        else "codes"
        if cfg.data_preprocessor.get("channels") is None
        else "channels"
    )
    store = str(own_stores[kind])
    assert use_stores(cfg, store, store)
    hooks = [hook for hook in cfg.default_hooks.values() if isinstance(hook, dict)]
    read = parts_of([hooks, *(cfg.get(f"{name}_dataloader") for name in ("train", "val", "test"))])
    assert {part["store"] for part in read if part.get("type", "").endswith(("TokenDataset", "TokenSegDataset"))} <= {
        store
    }
    kept = {"seg": {(12, 20)}, "channels": {(10, 18)}, "codes": {(10, 18)}}[kind]
    own = cfg.model.token_adapt if "token_adapt" in cfg.model else cfg.model.backbone
    assert {own.get("grid_size", own.get("out_grid"))} == kept
    assert own.get("codebook_size", 18) in (18, None) and own.code_dim in (12, 7, 32)
    sizes = {part["size"] for part in parts_of([cfg.data_preprocessor, cfg.model]) if "size" in part}
    assert sizes <= kept | {(2 * rows, 2 * columns) for rows, columns in kept} | {(24, 40)}
    assert {part["num_classes"] for part in parts_of([cfg.data_preprocessor, cfg.model]) if "num_classes" in part} <= {
        3
    }


def key_paths(node: Any, prefix: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield f"{prefix}.{key}"
        if isinstance(value, (dict, list)):
            yield from key_paths(value, f"{prefix}.{key}")


@every_model
def test_shrink_drops_nothing(path: Path, tmp_path: Path) -> None:
    cfg = load(path)
    assert set(key_paths(cfg._cfg_dict)) <= set(key_paths(shrink(cfg, tmp_path)._cfg_dict))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        (MTM, "optim_wrapper.optimizer.type", "AdamW"),
        (MTM, "optim_wrapper.optimizer.lr", 2.4e-3),
        (MTM, "optim_wrapper.optimizer.betas", (0.9, 0.95)),
        (MTM, "optim_wrapper.optimizer.weight_decay", 0.05),
        (MTM, "auto_scale_lr.base_batch_size", 4096),
        (MTM, "train_dataloader.batch_size", 4096 / 8),
        (MTM, "train_dataloader.drop_last", True),
        (MTM, "train_cfg.max_epochs", 400),
        (MTM, "param_scheduler.end", 400),
        (MTM, "param_scheduler.warmup", 40),
        (MTM, "param_scheduler.convert_to_iter_based", True),
        (MTM, "model.mask_ratio.mean", 0.45),
        (MTM, "model.mask_ratio.std", 0.25),
        (MTM, "model.mask_ratio.low", 0.4),
        (MTM, "model.mask_ratio.high", 1.0),
        (MTM, "model.backbone.arch.embed_dims", 768),
        (MTM, "model.backbone.arch.num_layers", 12),
        (MTM, "model.backbone.arch.num_heads", 12),
        (MTM, "model.backbone.arch.feedforward_channels", 3072),
        (MTM, "model.backbone.grid_size", 28),
        (MTM, "model.backbone.patch_size", 2),
        (MTM, "model.backbone.codebook_size", 391),
        (MTM, "model.backbone.code_dim", 32),
        (MTM, "model.backbone.token_drop_rate", 0.1),
        (MTM, "model.neck.decoder_embed_dims", 512),
        (MTM, "model.neck.num_layers", 4),
        (MTM, "model.neck.num_heads", 16),
        (MTM, "model.neck.drop_rate", 0.1),
        (MTM, "model.neck.attn_drop_rate", 0.1),
        (MTM, "data_preprocessor.crop_size", 28),
        (MTM_ACCUMULATED, "optim_wrapper.optimizer.lr", 2.4e-3),
        (MTM_ACCUMULATED, "auto_scale_lr.base_batch_size", 4096),
        (MTM_ACCUMULATED, "train_dataloader.batch_size", 4096 / 8 / 4),
        (MTM_ACCUMULATED, "optim_wrapper.accumulative_counts", 4),
        (FINETUNE, "optim_wrapper.optimizer.type", "AdamW"),
        (FINETUNE, "optim_wrapper.optimizer.lr", 4e-3),
        (FINETUNE, "optim_wrapper.optimizer.weight_decay", 0.1),
        (FINETUNE, "optim_wrapper.paramwise_cfg.layer_decay_rate", 0.65),
        (FINETUNE, "auto_scale_lr.base_batch_size", 1024),
        (FINETUNE, "auto_scale_lr.rule", "sqrt"),
        (FINETUNE, "train_dataloader.batch_size", 1024 / 8),
        (FINETUNE, "train_cfg.max_epochs", 100),
        (FINETUNE, "param_scheduler.end", 100),
        (FINETUNE, "param_scheduler.warmup", 5),
        (FINETUNE, "param_scheduler.eta_min_ratio", 1e-6 / 4e-3),
        (FINETUNE, "param_scheduler.convert_to_iter_based", True),
        (FINETUNE, "model.backbone.drop_path_rate", 0.1),
        (FINETUNE, "model.backbone.out_type", "avg_featmap"),
        (FINETUNE, "model.head.loss.label_smooth_val", 0.1),
        (FINETUNE, "model.head.num_classes", 1000),
        (SEIT, "optim_wrapper.optimizer.type", "AdamW"),
        (SEIT, "optim_wrapper.optimizer.lr", 1.5e-3),
        (SEIT, "optim_wrapper.optimizer.weight_decay", 0.1),
        (SEIT, "auto_scale_lr.base_batch_size", 1024),
        (SEIT, "train_dataloader.batch_size", 1024 / 8),
        (SEIT, "train_cfg.max_epochs", 300),
        (SEIT, "param_scheduler.end", 300),
        (SEIT, "param_scheduler.warmup", 5),
        (SEIT, "param_scheduler.start_ratio", 1e-6 / 1.5e-3),
        (SEIT, "param_scheduler.eta_min_ratio", 1e-5 / 1.5e-3),
        (SEIT, "model.backbone.codebook_size", None),
        (SEIT, "model.backbone.code_dim", 32),
        (SEIT, "model.backbone.grid_size", 28),
        (SEIT, "model.backbone.patch_cfg", dict(kernel_size=4, stride=2, padding=1)),
        (SEIT, "model.backbone.arch.embed_dims", 768),
        (SEIT, "model.backbone.drop_path_rate", 0.1),
        (SEIT, "model.head.loss.label_smooth_val", 0.1),
        (SEIT, "data_preprocessor.output", "embeddings"),
        (SEIT, "data_preprocessor.crop_size", 28),
        (SEITPP, "optim_wrapper.optimizer.lr", 1.5e-3),
        (SEIT_MTM, "optim_wrapper.optimizer.lr", 4e-3),
        (SEIT_MTM, "optim_wrapper.paramwise_cfg.layer_decay_rate", 0.65),
        (IN100.format("seit"), "model.backbone.arch.embed_dims", 384),
        (IN100.format("seit"), "model.backbone.arch.num_heads", 6),
        (IN100.format("seit"), "model.backbone.arch.num_layers", 12),
        (IN100.format("seit"), "model.backbone.arch.feedforward_channels", 1536),
        (IN100.format("seitpp"), "model.head.num_classes", 100),
        (FLOWERS, "optim_wrapper.optimizer.type", "SGD"),
        (FLOWERS, "optim_wrapper.optimizer.lr", 0.01),
        (FLOWERS, "optim_wrapper.optimizer.weight_decay", 1e-4),
        (FLOWERS, "train_cfg.max_epochs", 1000),
        (FLOWERS, "param_scheduler.end", 1000),
        (FLOWERS, "train_dataloader.batch_size", 768 / 8),
        (FLOWERS, "auto_scale_lr.base_batch_size", 768),
        (FLOWERS, "model.backbone.drop_path_rate", 0.0),
        (FLOWERS, "model.head.num_classes", 102),
        (INAT, "optim_wrapper.optimizer.type", "AdamW"),
        (INAT, "optim_wrapper.optimizer.lr", 7.5e-5),
        (INAT, "optim_wrapper.optimizer.weight_decay", 0.05),
        (INAT, "param_scheduler.end", 360),
        (INAT, "train_cfg.max_epochs", 360),
        (PIXELS, "optim_wrapper.optimizer.lr", 1e-3),
        (PIXELS, "optim_wrapper.optimizer.weight_decay", 0.05),
        (PIXELS, "auto_scale_lr.base_batch_size", 1024),
        (PIXELS, "param_scheduler.start_ratio", 1e-6 / 1e-3),
        (PIXELS, "param_scheduler.eta_min_ratio", 1e-5 / 1e-3),
        (PIXELS, "param_scheduler.warmup", 5),
        (PIXELS, "train_cfg.max_epochs", 300),
        (INAT, "model.backbone.drop_path_rate", 0.1),
        (INAT, "model.head.num_classes", 8142),
    ],
)
def test_recipe_number(name: str, key: str, value: Any) -> None:
    node = load(name)
    for part in key.split("."):
        node = node[part]
    assert node == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)


@pytest.mark.parametrize("name", [SEIT, SEITPP, IN100.format("seit"), IN100.format("seitpp")])
def test_average_of_weights_decays_by_the_recipe_and_both_are_scored(name: str) -> None:
    (hook,) = load(name).custom_hooks
    assert (hook.type, hook.evaluate_on_ema, hook.evaluate_on_origin) == ("seitpp.StepEMAHook", True, True)
    assert hook.momentum == pytest.approx(4e-5, rel=1e-9)  # one minus the decay of 0.99996


@pytest.mark.parametrize("name", [SEIT, FLOWERS, INAT])
def test_only_matrices_decay(name: str, tmp_path: Path) -> None:
    cfg = with_synthetic_data(load(name), tmp_path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        preprocessor = MODELS.build(cfg.data_preprocessor)
        with torch.device("meta"):
            model = MODELS.build({**cfg.model, "data_preprocessor": preprocessor})
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decays = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
    found = {name for name, parameter in model.named_parameters() if id(parameter) in decays}
    matrices = {name for name, parameter in model.named_parameters() if parameter.ndim > 1}
    assert found == matrices - {"backbone.cls_token", "backbone.pos_embed"}


def test_checkpoints_that_recipes_start_from_are_made_by_recipes() -> None:
    names = {path.stem for path in LEAVES}
    checked = 0
    for path in MODEL_LEAVES:
        for part in parts_of(load(path)._cfg_dict):
            checkpoint = part.get("checkpoint")
            if isinstance(checkpoint, str) and checkpoint.startswith("work_dirs/") and "quickstart" not in checkpoint:
                folder, unit, end = re.fullmatch(r"work_dirs/([^/]+)/(epoch|iter)_(\d+)\.pth", checkpoint).groups()
                assert folder in names, (path.stem, checkpoint)
                (maker,) = [leaf for leaf in LEAVES if leaf.stem == folder]
                assert load(maker).train_cfg[f"max_{unit}s"] == int(end), (path.stem, checkpoint)
                checked += 1
    assert checked > 35


def test_ablation_has_one_of_both_augmentations() -> None:
    kinds = {}
    for name in ("seit", "seit{}coloradapt", "seit{}tokenadapt", "seitpp"):
        leaf = IN100.format("seit").replace("p16_", "p16_" + name.split("{}")[-1] + "_") if "{}" in name else None
        kinds[name] = {part["type"] for part in parts_of(load(leaf or IN100.format(name)).data_preprocessor.augments)}
    color, adapt = "seitpp.ColorAdapt", "seitpp.TokenAdaptAugment"
    found = [(color in kind, adapt in kind) for kind in kinds.values()]
    assert found == [(False, False), (True, False), (False, True), (True, True)]


def test_augmentation_through_pixels_is_token_adapts_but_for_the_way() -> None:
    leaf = IN100.format("seit").replace("p16_", "p16_{}_")
    pixels, adapted = (load(leaf.format(name)).data_preprocessor.augments for name in ("pixel-aug", "tokenadapt"))
    augment, crop = pixels[1].pop("second")
    (through_map,) = adapted[1].pop("second")
    assert pixels == adapted
    assert (augment.type, augment.tokenizer.arch) == ("seitpp.PixelAugment", "seit")
    assert (crop.type, crop.size) == ("seitpp.BatchCenterCrop", 28)
    before, after = (next(one for one in side.augments if "size" in one) for side in (through_map, augment))
    assert (before.pop("size"), after.pop("size")) == (2 * 28, 8 * 32)  # places of the map, pixels
    assert augment.augments == through_map.augments


def test_binary_cross_entropy_is_an_option() -> None:
    loss = load(SEIT.replace("p16_", "p16_bce_")).model.head.loss
    assert loss.to_dict() == {"type": "CrossEntropyLoss", "use_sigmoid": True}


def test_transfer_without_what_acts_on_embeddings() -> None:
    types = {part["type"] for part in parts_of(load(INAT).data_preprocessor.augments)}
    assert {"seitpp.TokenAdaptAugment", "seitpp.ColorAdapt"} <= types
    assert not {"seitpp.TokenRRC", "seitpp.EmbNoise", "seitpp.TokenEDA"} & types


def test_strengths_of_the_recipes() -> None:
    """Orders and rates are counted in test_recipes.py."""
    split = load(MTM).data_preprocessor.augments[0]
    crop, (adapt,) = split.first[0], split.second
    _, affine, map_crop = adapt.augments
    assert (crop.size, crop.scale, map_crop.size, map_crop.scale) == (28, (0.2, 1.0), 56, (0.2, 1.0))
    parts = [part.transforms for part in affine.transforms]
    assert [part.get("degrees", 0) for part in parts] == [30, 0, 0, 0, 0]
    assert [part.get("translate", 0) for part in parts] == [0, (0.2, 0.0), (0.0, 0.2), 0, 0]
    assert [part.get("shear", 0) for part in parts] == [0, 0, 0, (0.0, 15.0), (0.0, 15.0)]
    colour, split = load(FINETUNE).data_preprocessor.augments
    noise, _ = colour.transforms
    assert (noise.std, noise.channel_std) == (1.0, 1.0)
    map_crop, mix = split.second[0].augments[-2:]
    assert (split.first[0].scale, map_crop.scale) == ((0.08, 1.0), (0.08, 1.0))
    assert [(one.type, one.alpha) for one in mix.transforms] == [("seitpp.BatchMixup", 0.8), ("seitpp.BatchCutMix", 1)]
    _, split, _, _ = load(SEITPP).data_preprocessor.augments
    map_crop, mix = split.second[0].augments[-2:]
    assert (split.first[0].scale, map_crop.scale, mix.probs) == ((0.08, 1.0), (0.08, 1.0), [0.5, 0.5])
    eda, crop, noise, cutmix = load(SEIT).data_preprocessor.augments
    assert (eda.token_prob, eda.num_synonyms, eda.max_swap) == (0.25, 5, 0.25)
    assert (crop.scale, noise.std, noise.channel_std, cutmix.alpha) == ((0.08, 1.0), 1.0, 1.0, 1.0)


def parts_of(node: Any) -> Iterator[dict]:
    """Every dict in a list of augmentations."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from parts_of(child)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("mtm_release", "codes"),
        ("mtm_paper", "codes"),
        ("mtm_finetune", "codes"),
        ("seit", "embeddings"),
        ("seitpp", "embeddings"),
        ("transfer_seitpp", "codes"),
    ],
)
def test_pipelines_take_whole_grids(name: str, output: str) -> None:
    torch.manual_seed(0)
    augments = load(f"_base_/augments/{name}.py").to_dict()["augments"]
    for part in parts_of(augments):
        if "synonyms" in part:
            part["synonyms"] = {code: [(code + step) % 391 for step in range(1, 6)] for code in range(391)}
        if "token_adapt" in part:
            sizes = dict(codebook_size=391, code_dim=32, grid=32)  # those of the data
            part.update(token_adapt=MODELS.build({**part["token_adapt"], **sizes}), checkpoint=None)
    preprocessor = TokenDataPreprocessor(torch.randn(391, 32), augments, output=output, num_classes=7)
    labels = {} if name.startswith("mtm_") and name != "mtm_finetune" else {"gt_label": torch.arange(5)}
    batch = {"inputs": torch.randint(391, (5, 32, 32)).to(torch.uint16), "sample_idx": torch.arange(5), **labels}
    found = preprocessor(batch, training=True)
    assert found["inputs"].shape == ((5, 28, 28) if output == "codes" else (5, 32, 28, 28))
    if output == "codes":
        assert found["inputs"].dtype == torch.int64 and 0 <= found["inputs"].min() <= found["inputs"].max() < 391
    for sample in found["data_samples"]:
        assert ("gt_score" in sample) == bool(labels)
        assert not labels or sample.gt_score.sum().item() == pytest.approx(1, abs=1e-5)


TOKEN_ADAPT = "tokenadapt/tokenadapt_d384_1xb128-1e_in1k-256px.py"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optim_wrapper.optimizer.lr", 1e-3),
        ("optim_wrapper.optimizer.weight_decay", 0.05),
        ("train_dataloader.batch_size", 128),
        ("train_cfg.max_epochs", 1),
        ("param_scheduler.warmup", 0),
        ("model.token_adapt.dims", 384),
        ("model.token_adapt.depth", 1),
        ("model.token_adapt.num_heads", 6),
        ("model.token_adapt.mlp_dims", 1536),
        ("model.token_adapt.codebook_size", 391),
        ("model.token_adapt.grid", 32),
        ("model.token_adapt.out_grid", 28),
    ],
)
def test_token_adapt_number(key: str, value: Any) -> None:
    node = load(TOKEN_ADAPT)
    for part in key.split("."):
        node = node[part]
    assert node == value


def test_head_starts_at_the_recipe_deviation(tmp_path: Path) -> None:
    (init,) = load(FINETUNE).model.head.init_cfg
    assert (init.type, init.layer, init.std) == ("TruncNormal", "Linear", 2e-5)
    cfg = with_synthetic_data(load(FINETUNE), tmp_path)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        head = MODELS.build(cfg.model.head)
    head.init_weights()
    assert head.fc.weight.std().item() == pytest.approx(2e-5, rel=0.01)
    assert head.fc.bias.abs().max() == 0


def test_final_rate_of_the_first_layers_is_scaled_too() -> None:
    cfg = load(FINETUNE)
    assert cfg.param_scheduler.eta_min_ratio * cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-6, rel=1e-12)


def test_pretraining_loss_is_not_smoothed() -> None:
    assert "label_smooth_val" not in load(MTM).model.head


def test_recipes_read_stores_with_their_codebook_and_synonyms_beside() -> None:
    """No recipe names a file of the release, which each process would decode for itself."""
    checked = 0
    for path in MODEL_LEAVES:
        cfg = LOADED[path]._cfg_dict
        hooks = [hook for hook in cfg["default_hooks"].values() if isinstance(hook, dict)]
        loaders = [cfg.get(f"{name}_dataloader") for name in ("train", "val", "test")]
        datasets = [part["dataset"] for part in (*hooks, *loaders) if part and "dataset" in part]
        datasets = [dataset for dataset in datasets if dataset["type"] == "seitpp.TokenDataset"]
        roots = {dataset["data_root"] for dataset in datasets}
        if not roots:
            continue
        (root,) = roots
        assert {dataset["store"] for dataset in datasets} <= {"train", "val", "test"}, path.stem
        assert not any("codebook_size" in dataset for dataset in datasets), path.stem  # a store knows its own
        assert cfg["data_preprocessor"]["codebook"] in (root + "train", None), path.stem
        named = {part["synonyms"] for part in parts_of(cfg["data_preprocessor"]) if "synonyms" in part}
        assert named <= {root + "synonyms.json"}, path.stem
        checked += root == "data/imagenet1k-tokens/"
    assert checked > 15


@pytest.mark.parametrize("path", MODEL_LEAVES, ids=lambda path: path.stem)
def test_loaders_without_workers_say_that_none_persist(path: Path) -> None:
    """Tools of other projects have them persist by default, which torch refuses where there are none."""
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = LOADED[path].get(name)
        if loader is not None and loader.get("num_workers", 0) == 0:
            assert loader.persistent_workers is False
