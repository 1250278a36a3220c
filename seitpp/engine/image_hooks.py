"""Hooks that draw: reconstructions of a tokenizer, and predicted label maps beside the truth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from seitpp.engine.runs import unwrapped
from seitpp.io.atomic_write import written_whole
from seitpp.registry import HOOKS
from seitpp.tokenizers import tokenizer_from_store
from seitpp.tokenizers.frozen import FrozenTokenizer
from seitpp.visualization.label_pictures import segmentation_picture
from seitpp.visualization.pictures import reconstruction_grid


@HOOKS.register_module()
class ReconstructionImageHook(Hook):
    """Writes `WORK_DIR/reconstructions/epoch_N.png` (or `iter_N.png`) at each validation, and `test.png` at a test.

    The upper row shows images of the first batch, evenly spaced, the lower row their reconstructions.

    Args:
        count: Number of images, at most those of the batch.
    """

    def __init__(self, count: int = 8) -> None:
        self.count = count

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Draw the first batch."""
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop) if runner._train_loop else False
        name = f"iter_{runner.iter}" if by_iteration else f"epoch_{runner.epoch}"
        self._draw(runner, name, batch_idx, outputs)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Draw the first batch."""
        self._draw(runner, "test", batch_idx, outputs)

    def _draw(self, runner: Runner, name: str, batch_idx: int, outputs: Sequence) -> None:
        if batch_idx != 0 or not is_main_process():
            return
        to_bytes = unwrapped(runner.model).tokenizer.to_bytes
        chosen = outputs[:: max(1, len(outputs) // self.count)][: self.count]
        images, reconstructed = (
            to_bytes(torch.stack([sample.get(key) for sample in chosen])).cpu() for key in ("image", "reconstruction")
        )
        path = Path(runner.work_dir) / "reconstructions" / f"{name}.png"
        with written_whole(path) as temporary:
            reconstruction_grid(images, reconstructed).save(temporary, format="png")
        runner.logger.info(f"Originals above their reconstructions: {path}")


@HOOKS.register_module()
class SegmentationImageHook(Hook):
    """Writes a PNG file per test sample: its tokens decoded, the truth over them, the prediction over them.

    Args:
        folder: Where to write; files are named after the samples of the store.
        count: Most samples per process; None for all.
        tokenizer: Config of the tokenizer that decodes; by default that in the header of the test store.
    """

    def __init__(self, folder: str, count: int | None = None, tokenizer: dict | None = None) -> None:
        self.folder, self.count, self.tokenizer = Path(folder), count, tokenizer

    def before_test(self, runner: Runner) -> None:
        """Build the tokenizer, now and not after the first batch."""
        self._written, dataset = 0, runner.test_loop.dataloader.dataset
        device = next(runner.model.parameters()).device
        self._tokenizer = FrozenTokenizer(self.tokenizer or tokenizer_from_store(dataset.reader)).on(device)
        if not self._tokenizer.can_decode:
            raise ValueError(
                f"pictures need a tokenizer that decodes, and that of {dataset.store_path} has no decoder; give one "
                "with its decoder, or leave out --show-dir"
            )

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Draw a batch."""
        chosen = outputs if self.count is None else outputs[: max(0, self.count - self._written)]
        if not chosen:
            return
        metadata, device = runner.test_loop.dataloader.dataset.metainfo, next(runner.model.parameters()).device
        tokens = data_batch["inputs"][: len(chosen)].long().to(device)
        pixels = self._tokenizer.to_bytes(self._tokenizer.decode(tokens))  # (B, C, H, W)
        for image, sample in zip(pixels, chosen, strict=True):
            truth = sample.gt_sem_seg.data[0] if "gt_sem_seg" in sample else None
            predicted = sample.pred_sem_seg.data[0]
            picture = segmentation_picture(image, predicted, metadata["classes"], metadata["palette"], truth)
            with written_whole(self.folder / f"{Path(sample.img_path).name}.png") as temporary:
                picture.save(temporary, format="png")
        self._written += len(chosen)

    def after_test(self, runner: Runner) -> None:
        """Log where the pictures are."""
        runner.logger.info(f"Tokens, truth and prediction of {self._written} samples: {self.folder}")
