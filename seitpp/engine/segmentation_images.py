"""A hook that draws predicted label maps over decoded tokens, beside the truth."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from seitpp.io.files import written_whole
from seitpp.registry import HOOKS
from seitpp.tokenizers import tokenizer_from_store
from seitpp.tokenizers.frozen import FrozenTokenizer
from seitpp.visualization.label_pictures import segmentation_picture


@HOOKS.register_module()
class SegmentationImageHook(Hook):
    """Writes a PNG file per test sample: its tokens decoded, the truth over them, the prediction over them.

    Args:
        folder: Where to write; files are named after the samples of the store.
        count: Most samples per process; None for all.
        tokenizer: Config of the tokenizer that decodes; by default that in the header of the test store.
    """

    def __init__(self, folder: str, count: int | None = None, tokenizer: dict | None = None) -> None:
        self.folder, self.count = Path(folder), count
        self._tokenizer = None if tokenizer is None else FrozenTokenizer(tokenizer)
        self._written, self._device = 0, torch.device("cpu")

    def before_test(self, runner: Runner) -> None:
        """Find the tokenizer, now and not after the first batch."""
        self._written = 0
        dataset = runner.test_loop.dataloader.dataset
        if self._tokenizer is None:
            self._tokenizer = FrozenTokenizer(tokenizer_from_store(dataset.reader))
        self._device = next(runner.model.parameters()).device
        if not self._tokenizer.on(self._device).can_decode:
            raise ValueError(
                f"pictures need a tokenizer that decodes, and that of {dataset.store_path} has no decoder; give one "
                "with its decoder, or leave out --show-dir"
            )

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Sequence | None = None
    ) -> None:
        """Draw a batch."""
        left = len(outputs) if self.count is None else self.count - self._written
        chosen = list(outputs)[: max(0, left)]
        if not chosen:
            return
        metadata = runner.test_loop.dataloader.dataset.metainfo
        for image, sample in zip(self._decoded(data_batch["inputs"][: len(chosen)]), chosen, strict=True):
            truth = sample.gt_sem_seg.data[0] if "gt_sem_seg" in sample else None
            picture = segmentation_picture(
                image, sample.pred_sem_seg.data[0], metadata["classes"], metadata["palette"], truth
            )
            with written_whole(self.folder / f"{Path(sample.img_path).name}.png") as temporary:
                picture.save(temporary, format="png")
        self._written += len(chosen)

    def after_test(self, runner: Runner) -> None:
        """Log where the pictures are."""
        runner.logger.info(f"Tokens, truth and prediction of {self._written} samples: {self.folder}")

    def _decoded(self, tokens: Tensor) -> Tensor:
        """Return pixels (B, C, H, W), uint8, of codes (B, H, W)."""
        tokenizer = self._tokenizer.on(self._device)
        return tokenizer.to_bytes(tokenizer.decode(tokens.long().to(self._device)))
