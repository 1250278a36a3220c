"""The way of one batch from the bytes of a store to MTM's loss stays short enough to read."""

import re
import sys
from pathlib import Path
from types import FrameType

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

import seitpp
from helpers.shrinking import shrink
from seitpp.registry import MODELS

PACKAGE = Path(seitpp.__file__).parent
MOST_FILES = 15


def test_a_batch_passes_through_few_files(tmp_path: Path) -> None:
    """Files whose functions run in training steps of MTM ViT-B (shrunken), after a first step that reads weights."""
    cfg = shrink(Config.fromfile(PACKAGE.parent / "configs/seitpp/mtm_vitb.py"), tmp_path, num_samples=16, batch_size=4)
    files: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            files.add(str(Path(frame.f_code.co_filename).relative_to(PACKAGE)))

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build({**cfg.model, "data_preprocessor": cfg.data_preprocessor}).train()
        batches = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
        for step in range(4):
            if step:
                sys.setprofile(note)
            try:
                losses = model(**model.data_preprocessor(next(batches), training=True), mode="loss")
            finally:
                sys.setprofile(None)
    assert losses["loss"].isfinite()
    section = (PACKAGE.parent / "CONTRIBUTING.md").read_text().split("## The way of one batch")[1].split("\n## ")[0]
    assert files == set(re.findall(r"`seitpp/([\w/]+\.py)`", section))
    assert len(files) <= MOST_FILES, sorted(files)
