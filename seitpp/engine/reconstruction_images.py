"""A hook that draws reconstructions of the first validation images."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from seitpp.engine.runs import unwrapped
from seitpp.io.files import written_whole
from seitpp.registry import HOOKS
from seitpp.visualization.pictures import reconstruction_grid


@HOOKS.register_module()
class ReconstructionImageHook(Hook):
    """Writes `WORK_DIR/reconstructions/epoch_N.png` at each validation, and `test.png` at a test.

    The upper row shows images of the first batch, evenly spaced, the lower row their reconstructions. A run by
    iteration writes `iter_N.png`.

    Args:
        count: Number of images, at most those of the batch.
    """

    def __init__(self, count: int = 8) -> None:
        self.count = count

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Draw the first batch."""
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop) if runner._train_loop else False
        name = f"iter_{runner.iter}" if by_iteration else f"epoch_{runner.epoch}"
        self._draw(runner, name, batch_idx, outputs)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Draw the first batch."""
        self._draw(runner, "test", batch_idx, outputs)

    def _draw(self, runner: Runner, name: str, batch_idx: int, outputs: Sequence) -> None:
        if batch_idx != 0 or not is_main_process():
            return
        model = unwrapped(runner.model)
        chosen = outputs[:: max(1, len(outputs) // self.count)][: self.count]
        images, reconstructed = (
            model.tokenizer.to_bytes(torch.stack([sample.get(key) for sample in chosen])).cpu()
            for key in ("image", "reconstruction")
        )
        path = Path(runner.work_dir) / "reconstructions" / f"{name}.png"
        with written_whole(path) as temporary:
            reconstruction_grid(images, reconstructed).save(temporary, format="png")
        runner.logger.info(f"Originals above their reconstructions: {path}")
