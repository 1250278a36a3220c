"""A discriminator of patches (PatchGAN, Isola et al. 2017), and VQGAN's adversarial losses (Esser et al. 2021)."""

from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from seitpp.models.vq.losses import adaptive_weight, hinge_discriminator_loss, hinge_generator_loss
from seitpp.registry import MODELS


@MODELS.register_module()
class PatchDiscriminator(BaseModule):
    """Scores overlapping patches of an image as real or reconstructed, with strided 4 x 4 convolutions.

    A score of three layers sees 70 x 70 pixels; of two 34 x 34, of one 16 x 16.

    Args:
        base_channels: Channels after the first layer; they double with each layer, up to eightfold.
        num_layers: Layers that halve the resolution.
        norm_cfg: Normalisation of all layers but the first and last: `dict(type="BN")` as in the papers, with few
            images per process `dict(type="SyncBN")` or `dict(type="GN", num_groups=8)`; None for none.
        init_cfg: mmengine's; by default a normal of deviation 0.02, as in the papers.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base_channels: int = 64,
        num_layers: int = 3,
        norm_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(type="Normal", layer="Conv2d", std=0.02),
                dict(type="Normal", layer=["_BatchNorm", "GroupNorm"], mean=1.0, std=0.02),
            ]
        super().__init__(init_cfg=init_cfg)
        widths = [base_channels * min(2**level, 8) for level in range(num_layers + 1)]
        layers: list[nn.Module] = [nn.Conv2d(in_channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for level in range(1, num_layers + 1):
            stride = 2 if level < num_layers else 1
            layers.append(nn.Conv2d(widths[level - 1], widths[level], 4, stride, padding=1, bias=norm_cfg is None))
            if norm_cfg is not None:
                layers.append(build_norm_layer(norm_cfg, widths[level])[1])
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(widths[-1], 1, 4, stride=1, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Score images (B, C, H, W): (B, 1, h, w); higher means real."""
        return self.layers(images)


class AdversarialLoss(BaseModule):
    """A discriminator, and the losses that it and the tokenizer train with, in one pass.

    The tokenizer's loss has no gradient in the discriminator, nor the discriminator's in the tokenizer. So one backward
    pass serves both optimizers, and all parameters take part in it, as DDP requires.

    Args:
        discriminator: Config of the network.
        weight: Weight of the tokenizer's term, beside the adaptive one.
        last_layer: Name of the tokenizer's parameter at which the adaptive weight is measured; None for a constant
            weight.
        start_step: Steps without adversarial training at the beginning.
    """

    def __init__(self, discriminator: dict, weight: float, last_layer: str | None, start_step: int = 0) -> None:
        super().__init__()
        self.discriminator = MODELS.build(discriminator)
        self.weight = weight
        self.last_layer = last_layer
        self.start_step = start_step

    def forward(
        self, images: Tensor, reconstructed: Tensor, reconstruction_loss: Tensor, last_layer: Tensor | None, step: int
    ) -> dict[str, Any]:
        """Compute both losses of images and their reconstructions, (B, C, H, W), after `step` steps.

        `reconstruction_loss` is the scalar, and `last_layer` the parameter, that the adaptive weight is measured by.
        Returns `loss_adversarial` of the tokenizer, `loss_discriminator`, and the former's `adversarial_weight`.
        """
        if step < self.start_step:
            # DDP waits for the gradient of every parameter.
            idle = 0 * sum(parameter.sum() for parameter in self.discriminator.parameters())
            none = reconstruction_loss.new_zeros(())
            return {"loss_adversarial": none, "loss_discriminator": idle, "adversarial_weight": none}
        self.discriminator.requires_grad_(False)
        generator = hinge_generator_loss(self.discriminator(reconstructed))
        self.discriminator.requires_grad_(True)
        weight = torch.full_like(generator, self.weight)
        if last_layer is not None:
            weight = weight * adaptive_weight(reconstruction_loss, generator, last_layer)
        real, fake = self.discriminator(images), self.discriminator(reconstructed.detach())
        return {
            "loss_adversarial": weight.detach() * generator,
            "loss_discriminator": hinge_discriminator_loss(real, fake),
            "adversarial_weight": weight.detach(),
        }
