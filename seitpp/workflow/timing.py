"""How long the steps of a plan take on this machine: a few steps of each training, measured before it begins."""

import contextlib
import io
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from seitpp.benchmarking.steps import TrainingStep
from seitpp.benchmarking.synthetic import make_codebook, use_random_networks
from seitpp.engine.config_changes import use_guards
from seitpp.engine.optim_wrapper import check_fused
from seitpp.io.config_file import read_config
from seitpp.workflow.setup import Setup

_LEAST_STEPS, _SECONDS = 3, 1.5  # that are measured, after two that are not
_PROBED_BATCH = 8  # of networks that take long


class _Batches:
    """One batch, again and again, in place of a loader."""

    def __init__(self, batch: Mapping[str, Any], metainfo: dict[str, Any]) -> None:
        self.batch, self.metainfo, self.dataset, self.store_path = batch, metainfo, self, "made-up data"

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        while True:
            yield self.batch

    def __len__(self) -> int:
        return 1

    def __getitems__(self, indices: Sequence[int]) -> Mapping[str, Any]:
        return self.batch


def seconds_per_step(recipe: str, setup: Setup) -> float:
    """Measure a training step of a recipe on made-up data of the same sizes."""
    logger = MMLogger.get_instance("mmengine")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        # Libraries tell, when they are imported, of parts that nobody needs here.
        silent = contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings()
        with silent[0], silent[1], tempfile.TemporaryDirectory() as name, torch.random.fork_rng():
            warnings.simplefilter("ignore")
            folder = Path(name)
            (folder / "recipe.py").write_text(recipe, encoding="utf-8")
            config = read_config(folder / "recipe.py")
            return _measured(config, setup, folder)
    finally:
        logger.setLevel(level)


def _measured(config: Config, setup: Setup, folder: Path) -> float:
    tokenizer = setup.tokenizer
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = setup.batch_size
    if setup.network.width > 64 and device == "cpu":
        batch = min(batch, _PROBED_BATCH)
    codebook = None
    if tokenizer.channels is None:
        np.save(folder / "codebook.npy", make_codebook(tokenizer.codebook_size, tokenizer.code_dim))
        codebook = str(folder / "codebook.npy")
    if "token_adapt" in config.model:
        if tokenizer.config is not None or tokenizer.fitted:
            options = tokenizer.config or tokenizer.entry
            config.model.tokenizer = {**{k: v for k, v in options.items() if k != "fit"}, "codebook": codebook}
        elif tokenizer.entry is None:
            config.model.tokenizer = tokenizer.given
        data = {"images": torch.randint(256, (batch, tokenizer.in_channels, *tokenizer.image_size), dtype=torch.uint8)}
        metainfo: dict[str, Any] = {}
    else:
        if codebook is not None:
            config.data_preprocessor.codebook = codebook
        shape = tokenizer.grid if tokenizer.channels is None else (*tokenizer.grid, tokenizer.channels)
        data = {"inputs": torch.randint(tokenizer.codebook_size, (batch, *shape))}
        metainfo = {
            "grid": list(tokenizer.grid),
            "codebook_size": tokenizer.codebook_size,
            "channels": tokenizer.channels,
            "classes": setup.classes,
        }
        if setup.task == "segmentation" and "decode_head" in config.model:
            data["data_samples"] = [_label_map(setup) for _ in range(batch)]
        elif setup.task == "classification":
            data["gt_label"] = torch.randint(len(setup.classes), (batch,))
        use_random_networks(config, folder)
        if config.model.type != "seitpp.MTM":  # whose weights it would start from
            config.model.backbone.pop("init_cfg", None)
    data["sample_idx"] = torch.arange(batch)
    use_guards(config)
    check_fused(config)
    step = TrainingStep(config, _Batches(data, metainfo), device)
    step.run(2)
    spent, steps = 0.0, 0
    while steps < _LEAST_STEPS or spent < _SECONDS:
        started = time.perf_counter()
        step.run(1)
        spent, steps = spent + time.perf_counter() - started, steps + 1
        if spent > 10 * _SECONDS:
            break
    return spent / steps * setup.batch_size / batch


def _label_map(setup: Setup) -> Any:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    size = setup.tokenizer.image_size
    sample = SegDataSample(metainfo={"img_shape": size, "ori_shape": size})
    sample.gt_sem_seg = PixelData(data=torch.randint(len(setup.classes), (1, *size), dtype=torch.uint8))
    return sample
