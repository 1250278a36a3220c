"""The discriminator, and that its loss and the tokenizer's do not reach into each other."""

import pytest
import torch

from seitpp.models.vq.patch_discriminator import AdversarialLoss, PatchDiscriminator

SMALL = dict(type="seitpp.PatchDiscriminator", base_channels=4, num_layers=1)


@pytest.mark.parametrize("norm_cfg", [None, dict(type="BN"), dict(type="GN", num_groups=4)])
def test_scores_are_one_a_patch(norm_cfg: dict | None) -> None:
    network = PatchDiscriminator(base_channels=8, num_layers=3, norm_cfg=norm_cfg)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 1, 6, 6)


@pytest.mark.parametrize(("num_layers", "pixels"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_so_many_pixels(num_layers: int, pixels: int) -> None:
    network = PatchDiscriminator(base_channels=2, num_layers=num_layers)
    image = torch.rand(1, 3, 160, 160, requires_grad=True)
    scores = network(image)
    scores[0, 0, scores.shape[2] // 2, scores.shape[3] // 2].backward()
    assert image.grad.abs().sum(dim=(0, 1, 3)).count_nonzero() == pixels


def test_initial_weights_have_the_papers_deviation() -> None:
    network = PatchDiscriminator(norm_cfg=dict(type="BN"))
    network.init_weights()
    assert network.layers[-1].weight.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.fixture
def parts() -> tuple[AdversarialLoss, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    loss = AdversarialLoss(SMALL, weight=0.8, last_layer="w", start_step=3)
    last_layer = torch.full((), 0.5, requires_grad=True)
    images = torch.rand(2, 3, 16, 16)
    return loss, images, last_layer, images * last_layer


@pytest.mark.parametrize("adaptive", [True, False])
def test_each_loss_moves_its_own_network(parts: tuple, adaptive: bool) -> None:
    loss, images, last_layer, reconstructed = parts
    distance = (reconstructed - images).square().mean()
    terms = loss(images, reconstructed, distance, last_layer if adaptive else None, step=3)
    networks = [last_layer, *loss.parameters()]
    for name, own in (("loss_adversarial", networks[:1]), ("loss_discriminator", networks[1:])):
        gradients = torch.autograd.grad(terms[name], networks, allow_unused=True, retain_graph=True)
        reached = [weight for weight, gradient in zip(networks, gradients, strict=True) if gradient is not None]
        assert {id(weight) for weight in reached} == {id(weight) for weight in own}, name
    if not adaptive:
        assert terms["adversarial_weight"].item() == pytest.approx(0.8)


def test_adaptive_weight_balances_both_gradients(parts: tuple) -> None:
    loss, images, last_layer, reconstructed = parts
    distance = (reconstructed - images).square().mean()
    terms = loss(images, reconstructed, distance, last_layer, step=3)
    norms = [
        torch.autograd.grad(term, last_layer, retain_graph=True)[0].abs().item()
        for term in (distance, terms["loss_adversarial"])
    ]
    plain = norms[1] / terms["adversarial_weight"].item()  # before weighting
    assert norms[1] == pytest.approx(0.8 * norms[0] * plain / (plain + 1e-4), rel=1e-4)


def test_before_its_start_every_parameter_has_a_gradient_of_zero(parts: tuple) -> None:
    loss, images, last_layer, reconstructed = parts
    terms = loss(images, reconstructed, (reconstructed - images).square().mean(), last_layer, step=2)
    assert terms["loss_adversarial"] == terms["loss_discriminator"] == 0
    terms["loss_discriminator"].backward()
    assert all(parameter.grad.eq(0).all() for parameter in loss.parameters())
