"""Learned embedding of codes, the first layer of MTM and of its classifier (release: as BERT's, with its own norm)."""

import torch.nn as nn
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_init
from torch import Tensor

from seitpp.registry import MODELS


@MODELS.register_module()
class TokenEmbedding(BaseModule):
    """Look-up, LayerNorm, dropout.

    Args:
        codebook_size: Number of codes K.
        code_dim: Values a code is embedded in, D; the release takes the codebook's own 32.
        drop_rate: Dropout after the norm.
        eps: The norm's epsilon.
        init_std: Standard deviation of the initial table.
        init_cfg: mmengine's initialisation config.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        drop_rate: float = 0.1,
        eps: float = 1e-6,
        init_std: float = 0.02,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.codebook_size = codebook_size
        self.code_dim = code_dim
        self.init_std = init_std
        self.word_embeddings = nn.Embedding(codebook_size, code_dim)
        self.norm = nn.LayerNorm(code_dim, eps=eps)
        self.dropout = nn.Dropout(drop_rate)

    def init_weights(self) -> None:
        """Truncated normal for the table; the norm starts as the identity."""
        super().init_weights()
        trunc_normal_init(self.word_embeddings, std=self.init_std)

    def forward(self, codes: Tensor) -> Tensor:
        """Embed codes, (B, H, W) int64 in [0, K), as maps (B, D, H, W)."""
        return self.dropout(self.norm(self.word_embeddings(codes))).permute(0, 3, 1, 2)
