"""Features of images and of stored tokens, by a trained encoder, as mmpretrain's `FeatureExtractor`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from seitpp.apis.base import InputType, TokenInferencer
from seitpp.apis.encoder import Pool, TokenEncoder, check_encoder, check_pool, load_encoder
from seitpp.registry import INFERENCERS
from seitpp.structures.batch import TokenBatch


@INFERENCERS.register_module()
class FeatureExtractor(TokenInferencer):
    """Features of images and of stored tokens: of a classifier, an MTM (nothing is hidden) or a segmentor's encoder.

    Args:
        model: A config, its path, the name of one that comes with the package, or a model that is built.
        pretrained: Checkpoint, read as tensors only; of a run with a moving average its averaged weights are taken.
            One of another use of the same encoder will do. Needed unless `model` is built.
        device: As `tokenizer` and `compare_grids`: see `TokenClassificationInferencer`.

    Example:
        >>> mtm = "mtm_vit-tiny-p2_1xb64-100e_digits-tokens"
        >>> extract = FeatureExtractor(mtm, "work_dirs/quickstart/mtm/epoch_100.pth")
        >>> extract("work_dirs/quickstart/tokens/val").shape
        torch.Size([600, 64])
        >>> extract("work_dirs/quickstart/tokens/val", pool="patch").shape
        torch.Size([600, 64, 4, 4])
    """

    forward_kwargs = {"pool"}
    _task, _doing = "encode", "encoding"
    _batch_size = 256
    _load, _check = staticmethod(load_encoder), staticmethod(check_encoder)

    def __init__(
        self,
        model: str | Path | Config | nn.Module,
        pretrained: str | Path | None = None,
        device: str | torch.device | None = None,
        tokenizer: Mapping | str | Path | None = None,
        compare_grids: bool = True,
    ) -> None:
        if isinstance(model, nn.Module) and not isinstance(model, TokenEncoder):
            check_encoder(model, "the inferencer")
            encoder = TokenEncoder(model.data_preprocessor, model.backbone)
            for name in ("_config", "_dataset_meta", "_trained_grid", "_source"):
                if hasattr(model, name):
                    setattr(encoder, name, getattr(model, name))
            model = encoder
        super().__init__(model, pretrained, device, tokenizer, compare_grids)

    def __call__(  # type: ignore[override]
        self,
        inputs: InputType,
        batch_size: int | None = None,
        indices: Sequence[int] | None = None,
        pool: Pool | None = None,
    ) -> Tensor:
        """Return features, float32, on the CPU.

        Args:
            inputs: As `indices`: see `TokenClassificationInferencer`.
            batch_size: Samples at a time, 256 by default.
            pool: `mean` of the patches, `cls` for the class token, or `patch` for maps of all patches; by default what
                the model's own head reads. See `TokenEncoder.encode`.

        Returns:
            (N, C), or for patches (N, C, h, w). `stream` yields them one by one.

        Raises:
            FileNotFoundError: Nothing lies at a path.
            ValueError: An input cannot be read, does not fit the model, or lacks the tokenizer that it needs; there is
                no such `pool`; or features are NaN or infinite.
        """
        if pool is not None:
            check_pool(pool)
        return torch.stack(list(self.stream(inputs, batch_size=batch_size, indices=indices, pool=pool)))

    @torch.no_grad()
    def forward(self, inputs: TokenBatch, pool: Pool | None = None) -> list[Tensor]:
        """Encode a batch."""
        data = self.model.data_preprocessor(inputs, False)
        return list(self.model.encode(data["inputs"], pool).float().cpu())

    def _check_found(self, found: Sequence[Tensor], before: int) -> None:
        for number, feature in enumerate(found, before):
            if not feature.isfinite().all():
                raise ValueError(
                    f"the features of sample {number} are NaN or infinite: the model's weights have diverged or do not "
                    "suit the data's range; take an earlier checkpoint"
                )

    def visualize(self, *_args: Any, **_kwargs: Any) -> None:
        """Draw nothing."""

    def postprocess(self, preds: list[Tensor], *_args: Any) -> list[Tensor]:
        """Return features as they are."""
        return preds
