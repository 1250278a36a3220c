"""A transformer block that keeps only its input for the backward pass (Chen et al., 2016, "sublinear memory cost")."""

import torch
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class CheckpointedLayer(TransformerEncoderLayer):
    """mmpretrain's block with activation checkpointing: the forward pass runs again in the backward pass.

    Dropout and stochastic depth repeat their draws, so losses and gradients are those of the plain block.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        if not torch.is_grad_enabled():
            return super().forward(x)
        return checkpoint(super().forward, x, use_reentrant=False)
