"""Activation checkpointing of encoder and decoder: the same losses and gradients to the bit, with less kept."""

import pytest
import torch
from torch import Tensor, nn

from seitpp.models import MTM, TokenViT

STACK = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32)
VIT = dict(arch=STACK, grid_size=8, codebook_size=16, code_dim=8, drop_path_rate=0.3, drop_rate=0.2)


def build_mtm(with_cp: bool) -> nn.Module:
    decoder = dict(num_patches=16, embed_dims=16, decoder_embed_dims=8, num_layers=2, num_heads=2, with_cp=with_cp)
    return MTM(
        backbone=dict(type="seitpp.MTMViT", with_cp=with_cp, **VIT),
        neck=dict(type="seitpp.MTMPretrainDecoder", **decoder),
        head=dict(type="seitpp.MTMPretrainHead", codebook_size=16, code_dim=8, decoder_embed_dims=8),
    )


def loss_of(model: nn.Module, codes: Tensor) -> Tensor:
    return model.loss(codes)["loss"] if isinstance(model, MTM) else model(codes)[-1].square().sum()


@pytest.mark.parametrize("kind", [build_mtm, lambda with_cp: TokenViT(with_cp=with_cp, **VIT)], ids=["mtm", "vit"])
def test_losses_and_gradients_are_those_without(kind: type) -> None:
    runs = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model, kept = kind(with_cp), []
        codes = torch.randint(0, 16, (4, 8, 8))
        with torch.autograd.graph.saved_tensors_hooks(
            lambda one, kept=kept: kept.append(one.numel()) or one, lambda x: x
        ):
            loss = loss_of(model, codes)
        loss.backward()
        gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        runs.append((loss, gradients, sum(kept), list(model.state_dict())))
    (loss, gradients, kept, names), (other, others, fewer, same) = runs
    assert torch.equal(loss, other) and names == same and gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    assert fewer < kept / 2


def test_nothing_is_run_twice_without_gradients() -> None:
    model = TokenViT(with_cp=True, **VIT).eval()
    calls = []
    model.layers[0].register_forward_hook(lambda *_: calls.append(None))
    with torch.no_grad():
        model(torch.randint(0, 16, (1, 8, 8)))
    assert len(calls) == 1
