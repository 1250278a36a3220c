"""Synthetic stores, release files and images, and configs that read them, for benchmarks and tests."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from PIL import Image

from seitpp.io.config_file import dicts_in, type_name
from seitpp.registry import MODELS, TOKENIZERS
from seitpp.storage import StoreWriter, open_source, write_release
from seitpp.tokenizers.codebook import load_codebook, save_codebook

_RELEASE_ENDING = "-token.data.bin.gz"  # of the files that the release names
_SYNONYMS = 5  # per code
_MOST_DISTINCT = 10_000  # samples of a synthetic store, which repeat beyond
IMAGE_SIZE = 256  # pixels, of tokenizers that do not say


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
    """Write a synthetic token store that carries its codebook, by default `make_codebook`'s, and return its folder.

    Samples beyond 10,000 repeat, so that a store of any size is made quickly. `seed` is that of the samples, not of the
    codebook. Classes are called `class-0` and so on, unless not `named`; without `num_classes` there are no labels.
    With `channels` the store has so many integers around 0 per position, and no codebook.
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
    """Write a store as `make_store`, with label maps of `scale` pixels per token, and return its folder.

    A code has one class, and the first row of pixels none. The header has `tokenizer`, by default nothing to build.
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
    """Write release files of the samples of `make_store`, and `codebook.ckpt` beside them; return the `.data.bin.gz`.

    `prefix` is where to write, such as `data/toy-train`; the release has at most 510 codes.
    """
    tokens, labels = make_tokens(num_samples, grid, codebook_size, num_classes or 1, seed)
    files = write_release(tokens, prefix, labels=None if num_classes is None else labels)
    save_codebook(files[0].path.parent / "codebook.ckpt", make_codebook(codebook_size, code_dim))
    return files[0].path


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


def _label_images(folder: Path, num_classes: int, list_name: str | None) -> None:
    """Give the images of a folder classes in turn: in a list beside it, or by moving them into a folder per class."""
    images = sorted(folder.glob("*.png"))
    if list_name is not None:
        lines = [f"{image.name} {number % num_classes}\n" for number, image in enumerate(images)]
        (folder.parent / list_name).write_text("".join(lines))
        return
    for number in range(num_classes):
        (folder / f"class-{number:04d}").mkdir(exist_ok=True)
    for number, image in enumerate(images):
        image.rename(folder / f"class-{number % num_classes:04d}" / image.name)


def with_synthetic_data(cfg: Config, data_dir: str | Path, num_samples: int = 4) -> Config:
    """Return a copy of a config that reads synthetic data: same formats and file names, below `data_dir`.

    Sizes come from the config: codes and their values from the backbone or TokenAdapt, classes from the head, the grid
    from the crop. Training sets have `num_samples` after their `subset`, others one more. Existing files are used as
    they are. Checkpoints of networks and token pairs keep their names.
    """
    cfg, data_dir = copy.deepcopy(cfg), Path(data_dir)
    backbone = cfg.model.get("backbone", {})
    adapted: Any = next((augment.token_adapt for augment in augments_named(cfg, "TokenAdaptAugment")), {})
    channels = cfg.data_preprocessor.get("channels")
    num_classes = next((part.num_classes for part in dicts_in(cfg.model) if "num_classes" in part), None)
    codebook_sizes = (part.get("codebook_size") for part in (backbone, cfg, adapted))
    sizes = {
        "codebook_size": next(filter(None, codebook_sizes), 391),
        "code_dim": adapted.get("code_dim", backbone.get("code_dim", 32)),
        "channels": channels,
        "num_classes": num_classes or 4,
    }
    crop = cfg.data_preprocessor.get("crop_size")
    grid = sides_of(backbone.get("grid_size", 28)) if crop is None else tuple(side * 8 // 7 for side in sides_of(crop))
    # Hooks may read data, too: samples to learn from.
    for seed, name in enumerate(("train_dataloader", "val_dataloader", "test_dataloader", "default_hooks")):
        own_samples = num_samples + (name in ("val_dataloader", "test_dataloader"))
        for dataset in dicts_in(cfg.get(name)):
            kind = str(dataset.get("type"))
            if kind.endswith("SubsetDataset") and "count" in dataset:
                dataset["count"] = min(dataset["count"], num_samples)
            if not kind.endswith(("CustomDataset", "TokenSegDataset", "TokenDataset")):
                continue
            dataset.data_root = str(data_dir / dataset.get("data_root", ""))
            if kind.endswith("CustomDataset"):
                size = cfg.model.get("tokenizer", {}).get("image_size", IMAGE_SIZE)
                images = make_images(Path(dataset.data_root, dataset.data_prefix), own_samples, size, seed)
                if dataset.get("with_label", True):
                    _label_images(images, num_classes, dataset.get("ann_file"))
                continue
            path = Path(dataset.data_root, dataset.store)
            if kind.endswith("TokenSegDataset"):
                known = {key: value for key, value in sizes.items() if key != "channels"}
                if not path.exists():
                    make_seg_store(path, num_samples=own_samples, grid=grid, seed=seed, **known)
                continue
            subset = dataset.get("subset") or {}
            count = math.ceil(own_samples / subset.get("fraction", 1))
            own = {**sizes, "codebook_size": dataset.get("codebook_size") or sizes["codebook_size"], "seed": seed}
            own["named"] = num_classes is not None  # else a classifier may use the same store
            _make_data(path, num_samples=count, grid=tuple(dataset.get("grid") or grid), **own)
            if "count" in subset:
                subset.count = min(subset.count, num_samples)
            if "budget_bytes" in subset:
                subset.budget_bytes = min(subset.budget_bytes, open_source(path).num_bytes)
    if isinstance(cfg.data_preprocessor.get("codebook"), str):
        path = data_dir / cfg.data_preprocessor.codebook
        cfg.data_preprocessor.codebook = str(path)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_codebook(path, make_codebook(sizes["codebook_size"], sizes["code_dim"]))
    for augment in augments_named(cfg, "TokenEDA"):
        if isinstance(augment.get("synonyms"), str):
            path = data_dir / augment.synonyms
            augment.synonyms = str(path)
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                size, steps = sizes["codebook_size"], range(1, 1 + _SYNONYMS)
                path.write_text(json.dumps({code: [(code + step) % size for step in steps] for code in range(size)}))
    if "token_adapt" in cfg.model and isinstance(cfg.model.tokenizer.get("codebook"), str):  # that of a store
        path, adapt = data_dir / cfg.model.tokenizer.codebook, cfg.model.token_adapt
        cfg.model.tokenizer.codebook = str(path)
        if not path.exists():
            make_store(path, grid=sides_of(adapt.grid), codebook_size=adapt.codebook_size, code_dim=adapt.code_dim)
    return cfg


def _make_data(path: Path, **sizes: Any) -> None:
    if path.exists():
        return
    if path.name.endswith(_RELEASE_ENDING):
        known = {key: value for key, value in sizes.items() if key not in ("channels", "named")}
        make_release(str(path).removesuffix(_RELEASE_ENDING), **known)
    else:
        make_store(path, **sizes)


def use_random_networks(cfg: Config, data_dir: Path, keep_existing: bool = False) -> None:
    """Point the checkpoints of frozen networks, but for files that exist and are kept, to random weights."""

    def keeps(part: dict) -> bool:
        return part.get("checkpoint") is None or (keep_existing and Path(part["checkpoint"]).exists())

    tokenizer = cfg.model.get("tokenizer", {})
    augments = [augment for augment in augments_named(cfg, "TokenAdaptAugment") if not keeps(augment)]
    through_pixels = [part for part in tokenizers_of_pixels(cfg) if not keeps(part)]
    with torch.random.fork_rng(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        torch.manual_seed(0)
        if not keeps(tokenizer):
            weights = TOKENIZERS.build({**tokenizer, "checkpoint": None}).state_dict()
            tokenizer.checkpoint = str(save_state(weights, data_dir / "random-tokenizer.pth"))
        for number, augment in enumerate(augments):
            network = MODELS.build({"type": "seitpp.TokenAdapt", **_sizes_of_tokens(cfg), **augment.token_adapt})
            augment.checkpoint = str(save_state(network.state_dict(), data_dir / f"random-token_adapt-{number}.pth"))
        for number, part in enumerate(through_pixels):
            codebook = load_codebook(cfg.data_preprocessor.codebook)  # of the data, which it must have, too
            part.update(codebook_size=len(codebook), code_dim=codebook.shape[1])
            weights = TOKENIZERS.build({**part, "checkpoint": None}).state_dict()
            weights["codebook"] = torch.from_numpy(codebook)
            part.checkpoint = str(save_state(weights, data_dir / f"random-tokenizer-of-pixels-{number}.pth"))


def _sizes_of_tokens(cfg: Config) -> dict[str, int | None]:
    """Return what an augmentation learns of its data from the data: codes K and values of a token, D."""
    preprocessor = cfg.data_preprocessor
    if preprocessor.get("codebook") is None:
        return {"codebook_size": None, "code_dim": preprocessor.channels}
    codebook_size, code_dim = load_codebook(preprocessor.codebook).shape
    return {"codebook_size": codebook_size, "code_dim": code_dim}


def augments_named(cfg: Config, name: str) -> list[ConfigDict]:
    """Augmentations of the data preprocessor of one type, wherever they are nested."""
    return [part for part in dicts_in(cfg.data_preprocessor) if type_name(part) == name]


def tokenizers_of_pixels(cfg: Config) -> list[ConfigDict]:
    """Tokenizers through which augmentations reach the pixels; not those that a store describes."""
    return [part.tokenizer for part in augments_named(cfg, "PixelAugment") if isinstance(part.tokenizer, dict)]


def sides_of(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def save_state(weights: dict[str, torch.Tensor], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": weights}, path)
    return path
