"""Distance of images in the features of a frozen network, as a training loss.

LPIPS (Zhang et al. 2018, eq. 1) with one constant weight per layer in place of its learned ones, and with any backbone
of mmpretrain or another library in place of VGG.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from seitpp.io.checkpoint import check_state_dict, state_dict_of
from seitpp.io.text import shorten
from seitpp.registry import MODELS

# Mean and deviation of ImageNet's RGB values in [0, 1], with which mmpretrain's classifiers were trained.
IMAGENET_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
IMAGENET_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)


def feature_distance(first: Tensor, second: Tensor) -> Tensor:
    """Average the squared distance of unit-length features over two maps (B, C, h, w); a scalar."""
    difference = F.normalize(first.float(), dim=1) - F.normalize(second.float(), dim=1)
    return difference.square().sum(dim=1).mean()


class PerceptualLoss:
    """A frozen network and the distance in its features.

    Not a module, so that the network is absent from its owner's `state_dict`, parameters, DDP and moving average; it
    follows the images from device to device.

    Args:
        backbone: Config of a network that returns a tuple of feature maps. Its `init_cfg` of type `Pretrained` (with
            `checkpoint`, and `prefix` if the file holds more than the backbone) is required.
        layer_weights: Weight of each map; 1 for all by default.
        mean: Mean of the network's input, for pixels in [0, 1], RGB.
        std: Deviation of the network's input.
        pixel_range: Range of the images' values.
        allow_random: Whether to accept a network without pre-trained weights. Random features say little about what
            people see; for tests.
    """

    def __init__(
        self,
        backbone: dict,
        layer_weights: Sequence[float] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        pixel_range: tuple[float, float] = (0.0, 1.0),
        allow_random: bool = False,
    ) -> None:
        backbone = dict(backbone)
        self._init_cfg: dict[str, Any] = dict(backbone.get("init_cfg") or {})
        self.is_pretrained = self._init_cfg.get("type", "").split(".")[-1] == "Pretrained"
        if not self.is_pretrained and not allow_random:
            raise ValueError(
                f"the perceptual loss' backbone {backbone.get('type')} has no pre-trained weights (init_cfg: "
                f"{self._init_cfg or None}); give it init_cfg=dict(type='Pretrained', checkpoint=..., prefix=...), or "
                "set allow_random=True for a test"
            )
        if self.is_pretrained:
            backbone["init_cfg"] = None  # we load the weights ourselves, and refuse what does not fit
        with torch.random.fork_rng():
            torch.manual_seed(0)  # the same random features on every rank and after a resume
            self.network: nn.Module = MODELS.build(backbone)
        self.network.requires_grad_(False).eval()
        self._is_loaded = False
        self.layer_weights = layer_weights
        low, high = pixel_range
        # From the images' range to [0, 1], and on to the network's input, in one step.
        self._shift = torch.tensor([low + value * (high - low) for value in mean]).view(3, 1, 1)
        self._scale = torch.tensor([value * (high - low) for value in std]).view(3, 1, 1)

    def load(self) -> None:
        """Read the pre-trained weights, which must fit the network, before the first use."""
        self._is_loaded = True
        if not self.is_pretrained:
            print_log("The perceptual loss uses a random network, as allow_random says.", "current")
            with torch.random.fork_rng():
                torch.manual_seed(0)
                if hasattr(self.network, "init_weights"):
                    self.network.init_weights()
            return
        source, prefix = self._init_cfg["checkpoint"], self._init_cfg.get("prefix") or ""
        prefix = prefix.rstrip(".") + "." if prefix else ""
        weights = state_dict_of(CheckpointLoader.load_checkpoint(source, map_location="cpu"), source)
        found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        if not found:
            raise ValueError(f"checkpoint {source} has no key that begins with {prefix!r}; it holds {shorten(weights)}")
        expected = self.network.state_dict()
        # Parts that the network lacks, as VGG's classifier, are left out; more layers of its own parts are refused.
        parts = {name.partition(".")[0] for name in expected}
        if unused := {name.partition(".")[0] for name in found} - parts:
            found = {name: value for name, value in found.items() if name.partition(".")[0] in parts}
            print_log(f"The perceptual loss leaves out {', '.join(sorted(unused))} of {source}.", "current")
        check_state_dict(found, expected, source)
        self.network.load_state_dict(found)

    def __call__(self, reconstructed: Tensor, images: Tensor) -> Tensor:
        """Measure reconstructions against images, both (B, C, H, W); a scalar with gradient to the former alone."""
        if self.is_pretrained and not self._is_loaded:
            raise ValueError("the perceptual loss has not read its weights; call the model's init_weights() first")
        if self._shift.device != images.device:
            self.network.to(images.device)
            self._shift, self._scale = self._shift.to(images.device), self._scale.to(images.device)
        with torch.no_grad():
            expected = self.features(images)
        weights = self.layer_weights or [1.0] * len(expected)
        if len(weights) != len(expected):
            raise ValueError(f"{len(weights)} layer_weights for {len(expected)} feature maps; give one per map")
        distances = map(feature_distance, self.features(reconstructed), expected)
        return sum(weight * distance for weight, distance in zip(weights, distances, strict=True))

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return feature maps of images (B, C, H, W); grey ones are shown as RGB."""
        return self.network((images.expand(-1, 3, -1, -1) - self._shift) / self._scale)
