"""Pairs of tokens for training TokenAdapt, made once: images -> tokens of x and of A(x), with what was drawn.

A part is a function of (seed, its number) and the images: a run that was stopped continues where it was, and several
processes share the work by parts.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import Runner, set_random_seed
from torch.utils.data import Dataset, SequentialSampler, Subset

from seitpp.models import TokenAdaptPretrain
from seitpp.registry import DATASETS, MODELS
from seitpp.structures.draws import draws_to, tensors_of
from seitpp.structures.seeds import step_seed
from seitpp.token_pairs.dataset import TokenPairDataset
from seitpp.token_pairs.format import Group, TokenPairWriter, num_parts


def make_token_pairs(
    cfg: Config,
    out: str | Path,
    *,
    epochs: int = 1,
    group_size: int = 32,
    groups_per_part: int = 128,
    seed: int = 0,
    device: torch.device | str = "cpu",
    advance: Callable[[int, int], None] | None = None,
) -> int:
    """Make the pairs that a config of `seitpp.TokenAdaptPretrain` would make on the fly; return how many there are.

    Args:
        cfg: The config: its model, the images of its `train_dataloader`.
        out: Folder of the pairs; continued if it was begun with the same settings.
        epochs: Passes over the images, each with its own draws.
        group_size: Pairs augmented together.
        groups_per_part: Groups per file.
        seed: Of the images' order, of what their pipeline draws, and of the augmentations.
        device: Where the tokenizer runs.
        advance: Called with the number of this process's parts that are done, and their total.
    """
    model = MODELS.build({**cfg.model, "data_preprocessor": cfg.data_preprocessor}).to(device).eval()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    if not isinstance(model, TokenAdaptPretrain) or isinstance(dataset, TokenPairDataset):
        raise ValueError(
            f"the config trains {type(model).__name__} on {type(dataset).__name__}; name one that trains "
            "TokenAdaptPretrain on images"
        )
    groups_per_epoch = len(dataset) // group_size
    if not groups_per_epoch:
        raise ValueError(f"{len(dataset)} images do not fill a group of {group_size}; use a smaller group size")
    described = {key: value for key, value in cfg.train_dataloader.dataset.items() if key != "data_root"}  # may move
    metadata = {
        "num_pairs": epochs * groups_per_epoch * group_size,
        "num_images": len(dataset),  # their order depends on it
        "images": json.loads(json.dumps(described, default=str)),
        "group_size": group_size,
        "groups_per_part": groups_per_part,
        **model.pair_metadata(),
        "seed": seed,
    }
    writer = TokenPairWriter(out, metadata)
    # By number: other processes may have written parts before this one looks.
    parts = writer.missing_parts(range(get_rank(), num_parts(writer.header), get_world_size()))
    for done, number in enumerate(parts, start=1):
        groups = range(number * groups_per_part, min((number + 1) * groups_per_part, epochs * groups_per_epoch))
        indices = _indices(groups, len(dataset), groups_per_epoch, group_size, seed)
        set_random_seed(step_seed(seed, number, 0))
        writer.write_part(number, *_make_part(cfg, model, Subset(dataset, indices.tolist()), group_size, device))
        if advance is not None:
            advance(done, len(parts))
    return int(writer.header["num_pairs"])


def _indices(groups: range, num_images: int, groups_per_epoch: int, group_size: int, seed: int) -> np.ndarray:
    """Choose the images of some groups, by index; every epoch has its own order."""
    epochs = range(groups.start // groups_per_epoch, -(-groups.stop // groups_per_epoch))
    orders = [np.random.default_rng([seed, epoch]).permutation(num_images) for epoch in epochs]
    indices = np.concatenate([order[: groups_per_epoch * group_size] for order in orders])
    first = epochs.start * groups_per_epoch
    return indices[(groups.start - first) * group_size : (groups.stop - first) * group_size]


def _make_part(
    cfg: Config, model: TokenAdaptPretrain, images: Dataset, group_size: int, device: torch.device | str
) -> Group:
    """Make the tokens and draws of one part, one group per batch."""
    options = {key: value for key, value in cfg.train_dataloader.items() if key not in ("dataset", "batch_sampler")}
    options.update(
        batch_size=group_size,
        dataset=images,
        sampler=SequentialSampler(images),  # mmengine's would share the part among the processes
        persistent_workers=False,
        drop_last=False,
    )
    sources, targets, draws = [], [], []
    for batch in Runner.build_dataloader(options):  # without a seed, to which mmengine would add the rank
        pixels = model.data_preprocessor(batch)["inputs"].to(device)
        drawn = model.draw(len(pixels), device)
        source, target = model.pairs(pixels, drawn)
        sources.append(source.cpu())
        targets.append(target.cpu())
        draws.append([draws_to(one, torch.device("cpu")) for one in drawn])
    small = _token_type(model)
    arrays = [torch.cat(tokens).numpy().astype(small) for tokens in (sources, targets)]
    # Partners are counted within a group: joining would count them within the part.
    fields = [
        {name: torch.cat([tensors_of(part)[name] for part in parts]).numpy() for name in tensors_of(parts[0])}
        for parts in zip(*draws, strict=True)
    ]
    return *arrays, fields


def _token_type(model: TokenAdaptPretrain) -> np.dtype:
    tokenizer = model.tokenizer()
    largest = tokenizer.minimum + tokenizer.codebook_size - 1
    return np.min_scalar_type(largest if tokenizer.minimum >= 0 else min(tokenizer.minimum, -largest - 1))
