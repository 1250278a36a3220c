"""The perceptual loss: its distance, its frozen network, and the weights it insists on."""

from pathlib import Path

import pytest
import torch
from mmpretrain.models import ResNet

from seitpp.models.vq.perceptual import PerceptualLoss, feature_distance

RESNET = dict(type="mmpretrain.ResNet", depth=18, base_channels=8, stem_channels=8, out_indices=(0, 1))


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return ResNet(**{key: value for key, value in RESNET.items() if key != "type"}).state_dict()


def pretrained(path: Path, weights: dict[str, torch.Tensor], **options: object) -> PerceptualLoss:
    torch.save({"state_dict": {f"backbone.{name}": value for name, value in weights.items()}}, path)
    init_cfg = dict(type="Pretrained", checkpoint=str(path), prefix="backbone.")
    return PerceptualLoss(dict(RESNET, init_cfg=init_cfg), **options)


def test_feature_distance_by_hand() -> None:
    first = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)  # (0.6, 0.8)
    second = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)  # (0, 1)
    assert feature_distance(first, second).item() == pytest.approx(0.36 + 0.04)


def test_pretrained_weights_are_read(tmp_path: Path, weights: dict) -> None:
    loss = pretrained(tmp_path / "resnet.pth", weights)
    loss.load()
    assert all(torch.equal(value, weights[name]) for name, value in loss.network.state_dict().items())


def test_weights_that_do_not_fit_are_refused(tmp_path: Path, weights: dict) -> None:
    loss = pretrained(tmp_path / "resnet.pth", {name: value for name, value in weights.items() if "layer2" not in name})
    with pytest.raises(ValueError, match=r"does not fit the model: missing keys: layer2"):
        loss.load()


def test_a_random_network_is_refused_unless_asked_for() -> None:
    with pytest.raises(ValueError, match=r"mmpretrain\.ResNet has no pre-trained weights .* allow_random=True"):
        PerceptualLoss(RESNET)
    distances = []
    images, others = torch.rand(2, 2, 3, 32, 32)
    for _ in range(2):  # the same features every time, so that a resumed run goes on with them
        loss = PerceptualLoss(RESNET, allow_random=True)
        loss.load()
        distances.append(loss(images, others).item())
        torch.rand(3)
    assert distances[0] == distances[1] > 0


def test_gradient_reaches_the_reconstructions_alone() -> None:
    loss = PerceptualLoss(RESNET, allow_random=True)
    images, reconstructed = (torch.rand(2, 3, 32, 32, requires_grad=True) for _ in range(2))
    loss(reconstructed, images).backward()
    assert reconstructed.grad.abs().sum() > 0
    assert images.grad is None
    assert all(parameter.grad is None for parameter in loss.network.parameters())
    assert not loss.network.training


def test_equal_images_have_no_distance_and_layers_add_up() -> None:
    images, others = torch.rand(2, 2, 3, 32, 32)
    values = [
        PerceptualLoss(RESNET, layer_weights=weights, allow_random=True)(others, images)
        for weights in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0))
    ]
    assert values[2].item() == pytest.approx(2 * values[0].item() + 3 * values[1].item(), rel=1e-5)
    assert PerceptualLoss(RESNET, allow_random=True)(images, images) == 0
    with pytest.raises(ValueError, match=r"3 layer_weights for 2 feature maps"):
        PerceptualLoss(RESNET, layer_weights=(1.0, 1.0, 1.0), allow_random=True)(images, others)


def test_the_network_sees_the_same_for_either_pixel_range() -> None:
    images, others = torch.rand(2, 2, 3, 32, 32)
    unit = PerceptualLoss(RESNET, allow_random=True)(images, others)
    signed = PerceptualLoss(RESNET, allow_random=True, pixel_range=(-1.0, 1.0))(2 * images - 1, 2 * others - 1)
    torch.testing.assert_close(unit, signed, rtol=1e-4, atol=1e-6)


def test_grey_images_are_shown_as_colour() -> None:
    grey = torch.rand(2, 1, 32, 32)
    loss = PerceptualLoss(RESNET, allow_random=True)
    assert loss(grey, grey.expand(-1, 3, -1, -1)) == 0


def test_a_part_that_the_network_lacks_is_left_out(tmp_path: Path, weights: dict) -> None:
    head = {"classifier.weight": torch.zeros(10, 4), "classifier.bias": torch.zeros(10)}
    loss = pretrained(tmp_path / "resnet.pth", {**weights, **head})
    loss.load()
    assert all(torch.equal(value, weights[name]) for name, value in loss.network.state_dict().items())


def test_more_layers_than_the_network_has_are_refused(tmp_path: Path, weights: dict) -> None:
    loss = pretrained(tmp_path / "resnet.pth", {**weights, "layer2.2.conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"does not fit the model: unknown keys: layer2\.2\.conv1\.weight"):
        loss.load()
