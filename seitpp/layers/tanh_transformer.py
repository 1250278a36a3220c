"""The transformer of ViT-VQGAN (Yu et al., 2021; thuanz123/enhancing-transformers) and TokenAdapt; its MLP has tanh."""

import torch.nn.functional as F
from torch import Tensor, nn


class TanhBlock(nn.Module):
    """One pre-norm block: x + out(attention(norm1(x))), then x + fc2(tanh(fc1(norm2(x)))).

    `head_dims` is the width of a head whatever the width `dims` of the block, C.
    """

    def __init__(self, dims: int, num_heads: int, mlp_dims: int, head_dims: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = num_heads * head_dims
        self.norm1 = nn.LayerNorm(dims)
        self.qkv = nn.Linear(dims, 3 * inner, bias=False)
        # The published code leaves the projection out of a single head that is as wide as the block.
        self.out = nn.Identity() if num_heads == 1 and head_dims == dims else nn.Linear(inner, dims)
        self.norm2 = nn.LayerNorm(dims)
        self.fc1 = nn.Linear(dims, mlp_dims)
        self.fc2 = nn.Linear(mlp_dims, dims)

    def forward(self, x: Tensor, qkv: Tensor | None = None) -> Tensor:
        """Map (B, N, C) to (B, N, C); `qkv` is `self.qkv(self.norm1(x))` where it is known already."""
        x = x + self.attend(self.qkv(self.norm1(x)) if qkv is None else qkv)
        return x + self.fc2(self.fc1(self.norm2(x)).tanh_())  # in place: the widest tensor, which nothing else needs

    def attend(self, qkv: Tensor) -> Tensor:
        """Attend with queries, keys and values of all heads, (B, N, 3 * num_heads * head_dims): (B, N, C)."""
        heads = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (3, B, heads, N, head_dims)
        return self.out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class TanhTransformer(nn.Module):
    """A stack of `depth` blocks and a last LayerNorm; `head_dims` is 64 in every published model."""

    def __init__(self, dims: int, depth: int, num_heads: int, mlp_dims: int, head_dims: int = 64) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TanhBlock(dims, num_heads, mlp_dims, head_dims) for _ in range(depth))
        self.norm = nn.LayerNorm(dims)

    def forward(self, x: Tensor, qkv: Tensor | None = None) -> Tensor:
        """Map (B, N, C) to (B, N, C); for `qkv`, the first block's, see `TanhBlock.forward`."""
        for layer in self.layers:
            x = layer(x, qkv)
            qkv = None
        return self.norm(x)
