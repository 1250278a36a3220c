"""The tanh transformer against a slow computation; the numbers of the reference are in test_vit_vqgan."""

import pytest
import torch
from torch import Tensor, nn

from seitpp.layers.tanh_transformer import TanhBlock, TanhTransformer


def layer_norm(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    mean, variance = x.mean(dim=-1, keepdim=True), x.var(dim=-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-5).sqrt() * norm.weight + norm.bias


def slow_block(x: Tensor, block: TanhBlock, heads: int, head_dims: int) -> Tensor:
    q, k, v = layer_norm(x, block.norm1).matmul(block.qkv.weight.T).chunk(3, dim=-1)
    parts = []
    for head in range(heads):
        own = slice(head * head_dims, (head + 1) * head_dims)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / head_dims**0.5
        parts.append(scores.softmax(dim=-1) @ v[..., own])
    x = x + block.out(torch.cat(parts, dim=-1))
    return x + block.fc2(block.fc1(layer_norm(x, block.norm2)).tanh())


@pytest.mark.parametrize(("dims", "heads", "head_dims"), [(12, 2, 8), (8, 1, 8), (8, 1, 4), (12, 3, 64)])
def test_against_a_slow_computation(dims: int, heads: int, head_dims: int) -> None:
    torch.manual_seed(0)
    model = TanhTransformer(dims, 2, heads, 20, head_dims).double()
    for parameter in model.parameters():  # also the norms' weights
        nn.init.normal_(parameter)
    x = torch.randn(2, 7, dims).double()
    expected = x
    for block in model.layers:
        expected = slow_block(expected, block, heads, head_dims)
    torch.testing.assert_close(model(x), layer_norm(expected, model.norm), atol=1e-9, rtol=1e-9)


def test_single_head_as_wide_as_the_block_has_no_projection() -> None:
    assert isinstance(TanhBlock(8, 1, 4, 8).out, nn.Identity)
    assert isinstance(TanhBlock(8, 1, 4, 16).out, nn.Linear)
    assert isinstance(TanhBlock(16, 2, 4, 8).out, nn.Linear)


def test_heads_are_64_wide_by_default() -> None:
    assert TanhTransformer(48, 1, 2, 96).layers[0].qkv.weight.shape == (3 * 2 * 64, 48)


def test_projection_to_queries_has_no_bias() -> None:
    assert TanhBlock(8, 2, 4, 8).qkv.bias is None
