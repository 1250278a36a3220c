"""Attention is torch's `scaled_dot_product_attention` in every network, which takes flash attention where it can."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from seitpp.models import MTMPretrainDecoder, MTMViT, TokenAdapt, TokenViT
from seitpp.models.mtm.masking import draw_masks
from seitpp.registry import TOKENIZERS

STACK = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
VIT = dict(arch=STACK, grid_size=8, codebook_size=16, code_dim=8, drop_rate=0.1)
CODES = torch.zeros(1, 8, 8, dtype=torch.int64)
MASKS = draw_masks(torch.rand(1, 16), 9, 7)


class Attentions(TorchFunctionMode):
    """Counts calls, and refuses attention that is written out."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        assert func not in (torch.softmax, F.softmax, torch.Tensor.softmax), "attention by an explicit softmax"
        self.count += func is F.scaled_dot_product_attention
        return func(*args, **(kwargs or {}))


def decode(network: nn.Module) -> None:
    network(torch.zeros(1, 10, 16), MASKS)


def adapt(network: nn.Module) -> None:
    network.reverse(network.convert(torch.zeros(1, 8, 4, 4)))


def encode_and_decode(network: nn.Module) -> None:
    network.decode(network.encode(torch.zeros(1, 3, 32, 32)))


VIT_VQGAN = dict(
    type="seitpp.ViTVQGAN",
    arch={part: dict(dims=16, depth=2, num_heads=2, head_dims=8, mlp_dims=32) for part in ("encoder", "decoder")},
    codebook_size=16,
    code_dim=8,
    image_size=32,
    patch_size=8,
)


@pytest.mark.parametrize(
    ("build", "run", "blocks"),
    [
        (lambda: TokenViT(**VIT), lambda network: network(CODES), 2),
        (lambda: MTMViT(**VIT), lambda network: network(CODES, MASKS), 2),
        (lambda: MTMPretrainDecoder(16, 16, 16, 3, 2, attn_drop_rate=0.1), decode, 3),
        (lambda: TokenAdapt(16, 8, 4, 4, dims=16, num_heads=2, head_dims=8, mlp_dims=16), adapt, 2),
        (lambda: TOKENIZERS.build(VIT_VQGAN), encode_and_decode, 4),
    ],
    ids=["classifier", "encoder", "decoder", "token-adapt", "vit-vqgan"],
)
def test_every_block_attends_through_torch(build: Any, run: Any, blocks: int) -> None:
    network = build().train()
    with Attentions() as attentions:
        run(network)
    assert attentions.count == blocks
