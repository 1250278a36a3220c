"""What tests, the smoke command and the documentation share: golden fixtures, synthetic data, shrunken configs.

Nothing in the package but the benchmarks imports this module.
"""

import copy
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from PIL import Image

from seitpp.registry import MODELS, TOKENIZERS
from seitpp.storage import SeitRelease, StoreReader, StoreWriter, write_release
from seitpp.token_pairs.maker import make_token_pairs
from seitpp.tokenizers.codebook import load_codebook, save_codebook
from seitpp.tokenizers.vqgan import ARCHS

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"
_RELEASE_ENDING = "-token.data.bin.gz"  # of the files that the release names

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
_IMAGE, _PATCH = 256, 8  # of tokenizers that do not say
_SYNONYMS = 5  # a code
_MOST_DISTINCT = 10_000  # samples of a synthetic store, which repeat beyond
# Of a VQGAN's networks, whose normalisation has 32 groups.
_SMALL_VQGAN = {"channels": 32, "num_res_blocks": 1, "attention_at": ()}
# Networks that have few depths to choose from, and stay as they are.
_FIXED_NETWORKS = ("VGG", "ResNet")
_PERCEPTUAL = "perceptual.backbone"


def golden_path(name: str) -> Path:
    """Path of the golden fixture `name` in the folder `SEITPP_GOLDEN_DIR` (default: `tests/fixtures`).

    Raises:
        FileNotFoundError: The fixture is not there. Parity tests fail then; they never skip.
    """
    path = Path(os.environ.get("SEITPP_GOLDEN_DIR") or FIXTURES) / name
    if not path.exists():
        raise FileNotFoundError(f"golden fixture {path} is missing; set SEITPP_GOLDEN_DIR to a folder that holds it")
    return path


def load_golden(name: str) -> dict[str, Any]:
    """Load an `.npz` fixture as a dict of arrays, with its JSON `meta` (if any) parsed under the key `meta`."""
    with np.load(golden_path(name), allow_pickle=False) as archive:
        arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    if "meta" in arrays:
        arrays["meta"] = json.loads(str(arrays["meta"]))
    return arrays


def make_codebook(codebook_size: int = 391, code_dim: int = 32, seed: int = 0) -> np.ndarray:
    """Random code vectors (K, D), float32; the same for the same arguments, so that stores share a tokenizer."""
    return np.random.default_rng([seed, codebook_size, code_dim]).normal(size=(codebook_size, code_dim)).astype("f4")


def make_tokens(
    num_samples: int, grid: tuple[int, ...], codebook_size: int, num_classes: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N, *grid) and labels (N,): each class has a pattern, of which a sample shows four fifths.

    The patterns depend on the sizes alone, the samples on `seed`, so that data of two seeds can train and validate.
    """
    patterns = np.random.default_rng(codebook_size).integers(codebook_size, size=(min(num_classes, num_samples), *grid))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_samples) % num_classes)
    noise = rng.integers(codebook_size, size=(num_samples, *grid))
    shown = rng.random((num_samples, *grid)) < 0.8
    return np.where(shown, patterns[labels], noise), labels


def make_store(
    path: str | Path,
    num_samples: int = 12,
    grid: tuple[int, int] = (32, 32),
    codebook_size: int = 391,
    code_dim: int = 32,
    num_classes: int | None = 4,
    seed: int = 0,
    codebook: np.ndarray | None = None,
    codec: str = "bitpacked",
    channels: int | None = None,
    named: bool = True,
) -> Path:
    """Write a synthetic token store that carries its codebook.

    Args:
        path: Folder of the new store.
        num_samples: Samples N; beyond 10,000 they repeat, so that a store of any size is made quickly.
        grid: Rows and columns of a token map.
        codebook_size: Number of codes K.
        code_dim: Values a code.
        num_classes: Classes, named `class-0` and so on; None for a store without labels.
        seed: Seed of the samples, not of the codebook.
        codebook: Code vectors (K, D); by default those of `make_codebook`.
        codec: Codec of the store.
        channels: Integers a place of a store without a codebook, around 0; None for codes.
        named: Whether the classes have names.

    Returns:
        The folder.
    """
    shape = grid if channels is None else (*grid, channels)
    tokens, labels = make_tokens(min(num_samples, _MOST_DISTINCT), shape, codebook_size, num_classes or 1, seed)
    minimum = 0 if channels is None else -(codebook_size // 2)
    if channels is None and codebook is None:
        codebook = make_codebook(codebook_size, code_dim)
    with StoreWriter(
        path,
        codebook_size=codebook_size,
        grid=grid,
        tokenizer={"name": "synthetic"},
        codebook=codebook,
        codec=codec,
        channels=channels,
        minimum=minimum,
        label_kind="none" if num_classes is None else "class",
        classes=[f"class-{number}" for number in range(num_classes)] if named and num_classes is not None else None,
    ) as writer:
        tokens = (tokens + minimum).astype(np.int32)
        for start in range(0, num_samples, _MOST_DISTINCT):
            piece = slice(num_samples - start)
            writer.append(tokens[piece], None if num_classes is None else labels[piece])
    return Path(path)


def make_seg_store(
    path: str | Path,
    num_samples: int = 12,
    grid: tuple[int, int] = (16, 16),
    codebook_size: int = 391,
    code_dim: int = 32,
    num_classes: int = 4,
    seed: int = 0,
    scale: int = 2,
    tokenizer: dict[str, Any] | None = None,
) -> Path:
    """Write a synthetic store of tokens with label maps: a code has one class, and the first row of pixels none.

    Args:
        path: Folder of the new store.
        num_samples: Samples N.
        grid: Rows and columns of a token map.
        codebook_size: Number of codes K.
        code_dim: Values a code.
        num_classes: Classes, named `class-0` and so on.
        seed: Seed of the samples, not of the codebook.
        scale: Pixels of a label map a token, in each direction.
        tokenizer: What the header says of it; by default nothing that could be built.

    Returns:
        The folder.
    """
    tokens, _ = make_tokens(num_samples, grid, codebook_size, 1, seed)
    with StoreWriter(
        path,
        codebook_size=codebook_size,
        grid=grid,
        tokenizer=tokenizer or {"name": "synthetic"},
        codebook=make_codebook(codebook_size, code_dim),
        label_kind="segmentation",
        classes=[f"class-{number}" for number in range(num_classes)],
        source={"label_maps": {"size": "kept", "reduce_zero_label": False}},
    ) as writer:
        writer.append(tokens)
        folder = Path(path, "labels")
        folder.mkdir()
        maps = np.kron(tokens % num_classes, np.ones((scale, scale), np.int64)).astype(np.uint8)
        for number, labels in enumerate(maps):
            labels[0] = 255
            Image.fromarray(labels).save(folder / f"{number:08d}.png")
    return Path(path)


def make_release(
    prefix: str | Path,
    num_samples: int = 12,
    grid: tuple[int, int] = (32, 32),
    codebook_size: int = 391,
    code_dim: int = 32,
    num_classes: int | None = 4,
    seed: int = 0,
) -> Path:
    """Write synthetic release files `PREFIX-token.data.bin.gz` and so on, and `codebook.ckpt` beside them.

    Args:
        prefix: Where to write, such as `data/toy-train`.
        num_samples: Samples N.
        grid: Rows and columns of a token map.
        codebook_size: Number of codes K, at most 510.
        code_dim: Values a code.
        num_classes: Classes; None for no label file.
        seed: Seed of the samples, not of the codebook.

    Returns:
        The `.data.bin.gz` file.
    """
    tokens, labels = make_tokens(num_samples, grid, codebook_size, num_classes or 1, seed)
    files = write_release(tokens, prefix, labels=None if num_classes is None else labels)
    save_codebook(files[0].path.parent / "codebook.ckpt", make_codebook(codebook_size, code_dim))
    return files[0].path


def with_synthetic_data(cfg: Config, data_dir: str | Path, num_samples: int = 4) -> Config:
    """A copy of a config that reads synthetic data: same formats and file names, below `data_dir`.

    Sizes come from the config: codes and their values from the backbone or TokenAdapt, classes from the head, the grid
    from the crop. Existing files are used as they are. Checkpoints of networks keep their names, and token pairs, too:
    `shrink` makes those.

    Args:
        cfg: A leaf config.
        data_dir: Where the data lie or are made.
        num_samples: Samples of the training set after its `subset`; other sets have one more.

    Returns:
        The copy.
    """
    cfg, data_dir = copy.deepcopy(cfg), Path(data_dir)
    backbone = cfg.model.get("backbone", {})
    adapted = next((augment.token_adapt for augment in _augments_of(cfg, "TokenAdaptAugment")), {})
    channels = cfg.data_preprocessor.get("channels")
    num_classes = next((part.num_classes for part in _dicts(cfg.model) if "num_classes" in part), None)
    sizes = {
        "codebook_size": backbone.get("codebook_size")
        or cfg.get("codebook_size")
        or adapted.get("codebook_size")
        or 391,
        "code_dim": adapted.get("code_dim", backbone.get("code_dim", 32)),
        "channels": channels,
        "num_classes": num_classes or 4,
    }
    crop = cfg.data_preprocessor.get("crop_size")
    grid = _sides(backbone.get("grid_size", 28)) if crop is None else tuple(side * 8 // 7 for side in _sides(crop))
    # Hooks may read data, too: samples to learn from.
    for seed, name in enumerate(("train_dataloader", "val_dataloader", "test_dataloader", "default_hooks")):
        own_samples = num_samples + (name in ("val_dataloader", "test_dataloader"))
        for dataset in _dicts(cfg.get(name)):
            if str(dataset.get("type")).endswith("SubsetDataset") and "count" in dataset:
                dataset["count"] = min(dataset["count"], num_samples)
            if str(dataset.get("type")).endswith("CustomDataset"):
                dataset.data_root = str(data_dir / dataset.get("data_root", ""))
                count = own_samples
                size = cfg.model.tokenizer.get("image_size", _IMAGE)
                make_images(Path(dataset.data_root, dataset.data_prefix), count, size, seed)
            if str(dataset.get("type")).endswith("TokenSegDataset"):
                dataset.data_root = str(data_dir / dataset.get("data_root", ""))
                path = Path(dataset.data_root, dataset.store)
                known = {key: value for key, value in sizes.items() if key != "channels"}
                if not path.exists():
                    make_seg_store(path, num_samples=own_samples, grid=grid, seed=seed, **known)
            if not str(dataset.get("type")).endswith("TokenDataset"):
                continue
            dataset.data_root = str(data_dir / dataset.get("data_root", ""))
            subset = dataset.get("subset") or {}
            count = math.ceil(own_samples / subset.get("fraction", 1))
            own = {**sizes, "codebook_size": dataset.get("codebook_size") or sizes["codebook_size"], "seed": seed}
            own["named"] = num_classes is not None  # else a classifier may use the same store
            path = Path(dataset.data_root, dataset.store)
            _make_data(path, num_samples=count, grid=tuple(dataset.get("grid") or grid), **own)
            if "count" in subset:
                subset.count = min(subset.count, num_samples)
            if "budget_bytes" in subset:
                reader = SeitRelease(path) if path.name.endswith(_RELEASE_ENDING) else StoreReader(path)
                subset.budget_bytes = min(subset.budget_bytes, reader.num_bytes)
    if isinstance(cfg.data_preprocessor.get("codebook"), str):
        cfg.data_preprocessor.codebook = str(data_dir / cfg.data_preprocessor.codebook)
        _make_codebook_file(Path(cfg.data_preprocessor.codebook), sizes["codebook_size"], sizes["code_dim"])
    _use_synthetic_synonyms(cfg, data_dir, sizes["codebook_size"])
    if "token_adapt" in cfg.model:
        _use_synthetic_codebook(cfg.model, data_dir)
    return cfg


def _use_synthetic_synonyms(cfg: Config, data_dir: Path, codebook_size: int) -> None:
    for augment in _augments_of(cfg, "TokenEDA"):
        if not isinstance(augment.get("synonyms"), str):
            continue
        path = data_dir / augment.synonyms
        augment.synonyms = str(path)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            steps, codes = range(1, 1 + _SYNONYMS), range(codebook_size)
            path.write_text(json.dumps({code: [(code + step) % codebook_size for step in steps] for code in codes}))


def _augments_of(cfg: Config, name: str) -> list[ConfigDict]:
    """Augmentations of the data preprocessor of one type, wherever they are nested."""
    return [part for part in _dicts(cfg.data_preprocessor) if str(part.get("type")).split(".")[-1] == name]


def _tokenizers_of_pixels(cfg: Config) -> list[ConfigDict]:
    """Tokenizers through which augmentations reach the pixels; not those that a store describes."""
    return [part.tokenizer for part in _augments_of(cfg, "PixelAugment") if isinstance(part.tokenizer, dict)]


def _use_synthetic_codebook(model: ConfigDict, data_dir: Path) -> None:
    """Where TokenAdapt's tokenizer is nothing but a codebook that a store carries."""
    if isinstance(model.tokenizer.get("codebook"), str):
        path = data_dir / model.tokenizer.codebook
        model.tokenizer.codebook = str(path)
        if not path.exists():
            adapt = model.token_adapt
            make_store(path, grid=_sides(adapt.grid), codebook_size=adapt.codebook_size, code_dim=adapt.code_dim)


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


def make_images(folder: str | Path, num_images: int, size: int, seed: int = 0) -> Path:
    """Write smooth random RGB images `size` pixels square as PNG files; an existing folder is used as it is."""
    folder = Path(folder)
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(num_images):
        colours = Image.fromarray(rng.integers(256, size=(4, 4, 3), dtype=np.uint8))
        colours.resize((size, size), Image.Resampling.BICUBIC).save(folder / f"{number:04d}.png")
    return folder


def _make_data(path: Path, **sizes: Any) -> None:
    if path.exists():
        return
    if path.name.endswith(_RELEASE_ENDING):
        known = {key: value for key, value in sizes.items() if key not in ("channels", "named")}
        make_release(str(path).removesuffix(_RELEASE_ENDING), **known)
    else:
        make_store(path, **sizes)


def _make_codebook_file(path: Path, codebook_size: int, code_dim: int) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_codebook(path, make_codebook(codebook_size, code_dim))


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
    if any(str(part.get("type")).endswith("TokenSegDataset") for part in _dicts(cfg.get("train_dataloader"))):
        _shrink_token_maps(cfg)
    cfg = with_synthetic_data(cfg, data_dir, num_samples)
    for part in list(_dicts(cfg.model)):  # before, so that what is replaced is not shrunk again
        if str(part.get("type")).split(".")[-1] not in _FIXED_NETWORKS:
            _shrink_network(part)
    for augment in _augments_of(cfg, "TokenAdaptAugment"):
        _shrink_network(augment.token_adapt)
    for tokenizer in _tokenizers_of_pixels(cfg):
        _shrink_network(tokenizer)
    if "tokenizer" in cfg.model:
        _shrink_images(cfg)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if cfg.get(name) is not None:
            cfg[name].batch_size = batch_size
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


def _dicts(node: Any) -> Iterator[dict]:
    """Every dict in a tree of dicts and lists."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _dicts(child)


def _shrink_images(cfg: Config) -> None:
    """Fewer pixels and codes where images are read."""
    for part in _dicts(
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
    before = max(_sides(backbone.grid_size))
    for part in [backbone, *_dicts(cfg.data_preprocessor.get("augments"))]:
        for key in ("grid_size", "grid", "out_grid", "size"):
            if key in part:
                part[key] = tuple(side * min(before, _SMALL_GRID) // before for side in _sides(part[key]))
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if cfg.get(name) is not None:
            cfg[name].update(num_workers=0, persistent_workers=False)


def _small_vqgan(arch: str | dict) -> dict:
    sizes = {**ARCHS[arch], **_SMALL_VQGAN} if isinstance(arch, str) else {**arch, **_SMALL_VQGAN}
    return {**sizes, "multipliers": tuple(1 for _ in sizes["multipliers"]), "codebook_size": _SMALL_CODEBOOK}


def _sides(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _shrink_grids(cfg: Config) -> None:
    """Fewer pixels, codes and tokens where TokenAdapt is trained, and crops that leave as many places as are needed."""
    model, adapt, tokenizer = cfg.model, cfg.model.token_adapt, cfg.model.tokenizer
    tokenizer.setdefault("image_size", _IMAGE)
    if str(tokenizer.type).endswith("VQGAN") and "arch" in tokenizer and not str(tokenizer.type).endswith("ViTVQGAN"):
        tokenizer.arch = _small_vqgan(tokenizer.arch)
    elif "codebook" not in tokenizer and adapt.codebook_size is not None:
        tokenizer.setdefault("codebook_size", adapt.codebook_size)
    _shrink_images(cfg)
    if adapt.codebook_size is not None:
        adapt.codebook_size = min(adapt.codebook_size, _SMALL_CODEBOOK)
    before, kept = _sides(adapt.grid), _sides(adapt.out_grid)
    grid = tuple(side // tokenizer.get("patch_size", _PATCH) for side in _sides(tokenizer.image_size))
    out_grid = tuple(max(1, side * new // old) for side, new, old in zip(kept, grid, before, strict=True))
    adapt.grid, adapt.out_grid = grid, out_grid
    for augment in _dicts([model.augments, model.get("eval_augments")]):
        if "size" in augment:
            sides = zip(_sides(augment["size"]), out_grid, kept, strict=True)
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
    for scheduler in _dicts(cfg.get("param_scheduler")):
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


def use_random_networks(cfg: Config, data_dir: Path, keep_existing: bool = False) -> None:
    """Point the checkpoints of frozen networks, but for files that exist and are kept, to random weights."""

    def keeps(part: dict) -> bool:
        return part.get("checkpoint") is None or (keep_existing and Path(part["checkpoint"]).exists())

    tokenizer = cfg.model.get("tokenizer", {})
    augments = [augment for augment in _augments_of(cfg, "TokenAdaptAugment") if not keeps(augment)]
    through_pixels = [part for part in _tokenizers_of_pixels(cfg) if not keeps(part)]
    with torch.random.fork_rng(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        if not keeps(tokenizer):
            weights = TOKENIZERS.build({**tokenizer, "checkpoint": None}).state_dict()
            tokenizer.checkpoint = str(_save(weights, data_dir / "random-tokenizer.pth"))
        for number, augment in enumerate(augments):
            weights = MODELS.build({"type": "seitpp.TokenAdapt", **augment.token_adapt}).state_dict()
            augment.checkpoint = str(_save(weights, data_dir / f"random-token_adapt-{number}.pth"))
        for number, part in enumerate(through_pixels):
            codebook = load_codebook(cfg.data_preprocessor.codebook)  # of the data, which it must have, too
            part.update(codebook_size=len(codebook), code_dim=codebook.shape[1])
            weights = TOKENIZERS.build({**part, "checkpoint": None}).state_dict()
            weights["codebook"] = torch.from_numpy(codebook)
            part.checkpoint = str(_save(weights, data_dir / f"random-tokenizer-of-pixels-{number}.pth"))


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
        part.init_cfg.checkpoint = str(given or _save(weights, data_dir / f"pretrained-{name}.pth"))
    if cfg.get("load_from") is not None:
        cfg.load_from = str(given or _save(_state_of(model, ""), data_dir / "pretrained.pth"))


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


def _save(weights: dict[str, torch.Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": weights}, path)
    return path
