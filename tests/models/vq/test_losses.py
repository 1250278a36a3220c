"""Terms of the tokenizer's loss: values against the reference and by hand, and where gradients go."""

import pytest
import torch
import torch.nn.functional as F

from helpers.golden import load_golden
from seitpp.models.vq.losses import (
    adaptive_weight,
    codebook_loss,
    commitment_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    straight_through,
)


@pytest.mark.parity
@pytest.mark.parametrize(("fixture", "cosine"), [("vitvqgan.npz", True), ("vqgan.npz", False)], ids=["vit", "conv"])
def test_commitment_is_the_references(fixture: str, cosine: bool) -> None:
    golden = load_golden(fixture)
    meta = golden["meta"]
    weights = (meta["config"]["beta"] if cosine else meta["beta"], 1.0)
    # VQGAN's legacy places beta on the codebook.
    commitment_weight, codebook_weight = weights[::-1] if meta.get("legacy_loss") else weights
    vectors, codes = torch.from_numpy(golden["out/prequant"]), torch.from_numpy(golden["out/codes"]).long()
    name = "sd/quantizer.embedding.weight" if cosine else "sd/quantize.embedding.weight"
    codebook = torch.from_numpy(golden[name])
    if cosine:
        vectors, codebook = F.normalize(vectors, dim=-1), F.normalize(codebook, dim=-1)
    else:
        vectors = vectors.movedim(1, -1)
    quantized = codebook[codes]
    loss = commitment_weight * commitment_loss(vectors, quantized) + codebook_weight * codebook_loss(vectors, quantized)
    assert loss.item() == pytest.approx(float(golden["out/commit_loss"]), rel=1e-5)


def test_straight_through_has_the_codes_values_and_the_vectors_gradient() -> None:
    vectors = torch.randn(3, 4, requires_grad=True)
    quantized = torch.randn(3, 4, requires_grad=True)
    result = straight_through(vectors, quantized)
    torch.testing.assert_close(result, quantized)
    weights = torch.randn(3, 4)
    (result * weights).sum().backward()
    assert torch.equal(vectors.grad, weights)
    assert quantized.grad is None


@pytest.mark.parametrize(("loss", "moves_vectors"), [(commitment_loss, True), (codebook_loss, False)])
def test_each_quantisation_term_moves_one_side(loss: object, moves_vectors: bool) -> None:
    vectors, quantized = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    loss(vectors, quantized).backward()
    assert (vectors.grad is not None) == moves_vectors
    assert (quantized.grad is not None) == (not moves_vectors)


def test_hinge_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])
    # (0 + 0.5 + 2) / 3 and (0 + 1) / 2
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx((2.5 / 3 + 0.5) / 2)
    assert hinge_generator_loss(fake).item() == pytest.approx(1.5)


def test_adaptive_weight_by_hand() -> None:
    last_layer = torch.tensor([1.0, 2.0], requires_grad=True)
    reconstruction = (last_layer * torch.tensor([3.0, 4.0])).sum()  # gradient of norm 5
    adversarial = (last_layer * torch.tensor([0.0, 2.0])).sum()  # of norm 2
    weight = adaptive_weight(reconstruction, adversarial, last_layer, delta=0.5)
    assert weight.item() == pytest.approx(5 / 2.5)
    assert last_layer.grad is None
    assert not weight.requires_grad
    assert adaptive_weight(reconstruction, 0 * adversarial, last_layer, delta=0.0).item() == 1e4
