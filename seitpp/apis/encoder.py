"""The encoder of a model of tokens by itself: features of patches, their mean, or the class token."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

from seitpp.apis.loading import as_config, give_tokenizer, load_weights, prediction_parts, read_checkpoint
from seitpp.engine.model_kind import ModelKind, check_kind
from seitpp.registry import MODELS

Pool = Literal["mean", "cls", "patch"]
_KEPT = ("backbone.", "data_preprocessor.")
# What a pre-trained encoder has and another use of it may lack.
_NOT_NEEDED = ("backbone.ln1.weight", "backbone.ln1.bias", "backbone.ln2.weight", "backbone.ln2.bias")


class TokenEncoder(BaseModel):
    """Data preprocessor and encoder of a classifier, a segmentor or an MTM.

    Args:
        data_preprocessor: A `TokenDataPreprocessor`.
        backbone: A vision transformer, such as `TokenViT`.
    """

    def __init__(self, data_preprocessor: nn.Module, backbone: nn.Module) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.backbone = backbone

    def forward(self, inputs: Tensor, data_samples: object = None, mode: str = "tensor") -> tuple[Tensor, ...]:
        """Return what the backbone does; nothing is hidden."""
        return self.backbone(inputs)

    @property
    def default_pool(self) -> Pool:
        """What the model's own head reads, where that is one vector: the class token or the mean of the patches."""
        return "cls" if self.backbone.out_type == "cls_token" else "mean"

    def encode(self, inputs: Tensor, pool: Pool | None = None) -> Tensor:
        """Return features of the last block, after the encoder's last norm.

        The mean is that of the patches before the norm, as in fine-tuning and for nearest neighbours, whichever of the
        two the encoder was trained with. A segmentor's encoder has no last norm.

        Args:
            inputs: What the data preprocessor gives, codes (B, H, W) or embeddings (B, D, H, W).
            pool: `mean` of the patches, `cls` for the class token, or `patch` for all patches; by default
                `default_pool`.

        Returns:
            (B, C), or for patches maps (B, C, h, w).
        """
        backbone, pool = self.backbone, check_pool(self.default_pool if pool is None else pool)
        if pool == "cls" and backbone.cls_token is None:
            raise ValueError("pool is 'cls', and this encoder has no class token; take the mean or the patches")
        found: dict[str, Tensor | tuple] = {}
        hooks = [
            backbone.layers[-1].register_forward_hook(lambda _part, _inputs, output: found.update(tokens=output)),
            backbone.patch_embed.register_forward_hook(lambda _part, _inputs, output: found.update(grid=output[1])),
        ]
        try:
            backbone(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return self._pooled(found["tokens"], tuple(found["grid"]), pool)

    def _pooled(self, tokens: Tensor, grid: tuple[int, int], pool: Pool) -> Tensor:
        backbone = self.backbone
        first = backbone.ln1 if backbone.final_norm else nn.Identity()
        second = backbone.ln2 if backbone.out_type == "avg_featmap" else nn.Identity()
        if pool == "mean":
            if backbone.final_norm and backbone.out_type != "avg_featmap":
                first, second = nn.Identity(), backbone.ln1
            return second(first(tokens)[:, backbone.num_extra_tokens :].mean(dim=1))
        norm = first if backbone.final_norm else second
        if pool == "cls":
            return norm(tokens[:, 0])
        return norm(tokens[:, backbone.num_extra_tokens :]).transpose(1, 2).unflatten(2, grid)


def check_pool(pool: str) -> Pool:
    """Return a way of pooling; refuse any other."""
    if pool not in get_args(Pool):
        raise ValueError(f"pool is {pool!r}, expected one of {', '.join(get_args(Pool))}")
    return pool


def check_encoder(model: nn.Module, source: str) -> None:
    """Refuse a model without a vision transformer of tokens."""
    backbone, preprocessor = getattr(model, "backbone", None), getattr(model, "data_preprocessor", None)
    if not isinstance(backbone, VisionTransformer) or not hasattr(preprocessor, "codebook_sha256"):
        raise ValueError(
            f"the model of {source} has the backbone {type(backbone).__name__} and the data preprocessor "
            f"{type(preprocessor).__name__}; features are taken from a vision transformer, such as seitpp.TokenViT, "
            "with a seitpp.TokenDataPreprocessor"
        )


def load_encoder(
    config: str | Path | Config,
    checkpoint: str | Path,
    tokenizer: Mapping | str | Path | None = None,
    compare_grids: bool = True,
) -> TokenEncoder:
    """Build the encoder of a classifier, a segmentor or an MTM; arguments and errors as for `load_classifier`.

    Takes from the checkpoint what belongs to the encoder. It may be that of another use of the same encoder, such as an
    MTM's for a classifier's config.
    """
    config = as_config(config)
    check_kind(config, ModelKind.CLASSIFIER, ModelKind.SEGMENTOR, ModelKind.MTM)
    config, weights, meta = read_checkpoint(config, checkpoint, compare_grids)
    parts = prediction_parts(config, weights, tokenizer)
    if parts.data_preprocessor is None or "backbone" not in parts:
        raise ValueError(f"{config.filename or 'the config'} has no data preprocessor, or its model no backbone")
    with DefaultScope.overwrite_default_scope(config.get("default_scope") or "mmpretrain"):
        model = TokenEncoder(MODELS.build(parts.data_preprocessor), MODELS.build(parts.backbone))
    check_encoder(model, config.filename or "the config")
    kept: dict[str, torch.Tensor] = {name: value for name, value in weights.items() if name.startswith(_KEPT)}
    if hasattr(model.backbone, "rename_weights"):
        model.backbone.rename_weights(kept, "backbone.")
    model._config = config
    load_weights(model, kept or weights, meta, checkpoint, compare_grids, may_exceed=_NOT_NEEDED)
    if tokenizer is not None:
        give_tokenizer(model, tokenizer)
    return model.eval()
