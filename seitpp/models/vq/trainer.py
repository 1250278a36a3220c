"""Training of a VQ tokenizer on images: a model around it that adds the losses and moves the codebook.

images (B, C, H, W) -> embed -> vectors (B, D, h, w) -> nearest codes (B, h, w) -> their vectors, with the gradient of
those they replace -> reconstruct -> images. VQ-VAE (van den Oord et al. 2017), optionally with VQGAN's perceptual and
adversarial terms (Esser et al. 2021), as ViT-VQGAN is trained (Yu et al. 2021, Sec. 3).
"""

from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from seitpp.models.vq.codebook_update import CodebookUpdate
from seitpp.models.vq.losses import codebook_loss, commitment_loss, straight_through
from seitpp.models.vq.patch_discriminator import AdversarialLoss
from seitpp.models.vq.perceptual import PerceptualLoss
from seitpp.registry import MODELS, TOKENIZERS
from seitpp.tokenizers.codebook import NEAREST_CODES


@MODELS.register_module()
class VQTokenizerTrainer(BaseModel):
    """A tokenizer with a codebook, and the losses that train it.

    Its checkpoints hold the tokenizer under `tokenizer.`, which a tokenizer's `checkpoint` option reads. With a
    discriminator the optimizers are those of `seitpp.AdversarialOptimWrapperConstructor`. Where batches are
    accumulated, the codebook moves once per optimizer step, as by one large batch; its `revive_interval` and the
    discriminator's `start_step` count steps, too.

    Args:
        tokenizer: Config of a `VQTokenizer`, such as `seitpp.ViTVQGAN`.
        l2_weight: Weight of the mean squared error of pixels.
        l1_weight: Weight of the mean absolute error.
        commitment_weight: Weight of the term that moves the encoder's vectors; the papers' beta.
        codebook_weight: Weight of the term that moves the codes; no effect with moving averages.
        codebook: Options of `CodebookUpdate`; its `init` is None by default where the tokenizer has a `checkpoint`.
        perceptual: Options of `PerceptualLoss`, and its `weight` (1 by default); None for none.
        adversarial: Options of `AdversarialLoss`; None for no discriminator.
        data_preprocessor: Config; its normalisation must give the tokenizer's `pixel_range`.

    Attributes:
        batches_per_step: Batches that the optimizer accumulates, set by `DataGuardHook` before training.
    """

    batches_per_step: int = 1

    def __init__(
        self,
        tokenizer: dict,
        l2_weight: float = 1.0,
        l1_weight: float = 0.0,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        codebook: dict | None = None,
        perceptual: dict | None = None,
        adversarial: dict | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.tokenizer = TOKENIZERS.build(tokenizer)
        if not hasattr(self.tokenizer, "embed") or getattr(self.tokenizer, "code_scores", None) is not None:
            raise ValueError(
                f"{tokenizer['type']} cannot be trained here: expected a tokenizer that takes the nearest row of a "
                "codebook, such as seitpp.ViTVQGAN or seitpp.VQGAN with another quantizer than 'logits'"
            )
        # Keep a codebook that was trained before, unless the config says how to start it anew.
        kept = {} if self.tokenizer.checkpoint is None else {"init": None}
        self.codebook_update = CodebookUpdate(*self.tokenizer.codebook.shape, **{**kept, **(codebook or {})})
        # Moving averages take the optimizer's place, and DDP waits for every parameter that it could move.
        self.tokenizer.codebook.requires_grad_(self.codebook_update.rule == "gradient")
        self.l2_weight, self.l1_weight = l2_weight, l1_weight
        self.commitment_weight, self.codebook_weight = commitment_weight, codebook_weight
        perceptual = dict(perceptual or {})
        self.perceptual_weight = perceptual.pop("weight", 1.0)
        self.perceptual = PerceptualLoss(**perceptual, pixel_range=self.tokenizer.pixel_range) if perceptual else None
        self.adversarial = AdversarialLoss(**adversarial) if adversarial else None
        self._check_pixel_range()
        self._last_layer()  # refuse a wrong name now
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))
        self._steps: int | None = None  # `num_steps`, read from the device once after loading
        self._batches = 0  # of the current step
        self._register_load_state_dict_pre_hook(self._forget_steps)

    def init_weights(self) -> None:
        """Initialise what mmengine initialises, and read the perceptual network's weights."""
        super().init_weights()
        if self.perceptual is not None:
            self.perceptual.load()

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | list[DataSample] | Tensor:
        """Run one of mmengine's modes on images (B, C, H, W) in the tokenizer's pixel range; labels play no part.

        These are `tensor` reconstructions, `loss` terms, or `predict` data samples for `ReconstructionMetric`.
        """
        if mode == "loss":
            return self.loss(inputs)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            return self.tokenizer.decode(self.tokenizer.encode(inputs))
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the loss terms of images (B, C, H, W); the last batch of a step also moves the codebook."""
        if self._steps is None:
            self._steps = int(self.num_steps)
        step, update, codebook = self._steps, self.codebook_update, self.tokenizer.codebook
        vectors = self.tokenizer.embed(images).float()
        if self.tokenizer.distance == "cosine":  # of length one, as losses compare them with codes
            vectors = F.normalize(vectors, dim=1)
        if self._batches == 0:
            nearest = NEAREST_CODES[self.tokenizer.distance]
            update.before_step(codebook.data, _rows(vectors), nearest, step, self.batches_per_step)
        codes = self.tokenizer.quantize(vectors.detach())
        quantized = self.tokenizer.lookup(codes)
        reconstructed = self.tokenizer.reconstruct(straight_through(vectors, quantized))
        terms = self.reconstruction_terms(reconstructed, images)
        reconstruction_loss = sum(terms.values())
        terms["loss_commitment"] = self.commitment_weight * commitment_loss(vectors, quantized)
        if update.rule == "gradient":
            terms["loss_codebook"] = self.codebook_weight * codebook_loss(vectors, quantized)
        if self.adversarial is not None:
            terms.update(self.adversarial(images, reconstructed, reconstruction_loss, self._last_layer(), step))
        ends_step = self._batches + 1 >= self.batches_per_step
        terms["codes_used"] = update.after_batch(codebook.data, _rows(vectors), codes.flatten(), ends_step)
        self._batches = 0 if ends_step else self._batches + 1
        if ends_step:
            self.num_steps += 1
            self._steps = step + 1
        return terms

    def reconstruction_terms(self, reconstructed: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Compare reconstructions with images, both (B, C, H, W): weighted terms, each a scalar."""
        terms = {}
        if self.l2_weight:
            terms["loss_l2"] = self.l2_weight * F.mse_loss(reconstructed.float(), images.float())
        if self.l1_weight:
            terms["loss_l1"] = self.l1_weight * F.l1_loss(reconstructed.float(), images.float())
        if self.perceptual is not None:
            terms["loss_perceptual"] = self.perceptual_weight * self.perceptual(reconstructed, images)
        return terms

    def predict(self, images: Tensor, data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Return data samples with `image` and `reconstruction` (C, H, W) and `codes` (h, w)."""
        codes = self.tokenizer.encode(images)
        reconstructed = self.tokenizer.decode(codes)
        data_samples = data_samples or [DataSample() for _ in images]
        metainfo = {"pixel_range": self.tokenizer.pixel_range, "codebook_size": self.tokenizer.codebook_size}
        for number, sample in enumerate(data_samples):
            sample.set_metainfo(metainfo)
            sample.set_field(images[number], "image")
            sample.set_field(reconstructed[number], "reconstruction")
            sample.set_field(codes[number], "codes")
        return data_samples

    def _last_layer(self) -> Tensor | None:
        name = None if self.adversarial is None else self.adversarial.last_layer
        if name is None:
            return None
        parameters = dict(self.tokenizer.named_parameters())
        if name not in parameters:
            raise ValueError(
                f"adversarial.last_layer is {name!r}, which is no parameter of the tokenizer; its last ones are "
                f"{', '.join(list(parameters)[-6:])}"
            )
        return parameters[name]

    def _check_pixel_range(self) -> None:
        """Raise `ValueError` if the data preprocessor's pixels are not in the tokenizer's range."""
        preprocessor, (low, high) = self.data_preprocessor, self.tokenizer.pixel_range
        normalises = getattr(preprocessor, "_enable_normalize", None)
        if normalises is None:
            return  # a preprocessor of another kind
        means = preprocessor.mean.flatten().tolist() if normalises else [0.0]
        stds = preprocessor.std.flatten().tolist() if normalises else [1.0]
        darkest = [(0 - mean) / std for mean, std in zip(means, stds, strict=True)]
        brightest = [(255 - mean) / std for mean, std in zip(means, stds, strict=True)]
        if max(abs(value - low) for value in darkest) > 1e-4 or max(abs(value - high) for value in brightest) > 1e-4:
            std = 255 / (high - low)
            raise ValueError(
                f"the data preprocessor turns bytes 0 and 255 into {darkest} and {brightest}, but the tokenizer's "
                f"pixels lie in [{low:g}, {high:g}]; set its mean to {[0.0 - low * std] * 3} and its std to {[std] * 3}"
            )

    def _forget_steps(self, *_args: Any) -> None:
        self._steps, self._batches = None, 0
        self.codebook_update.forget_batches()


def _rows(vectors: Tensor) -> Tensor:
    """Return vectors (B, D, h, w) as rows (B h w, D), without gradient."""
    return vectors.detach().permute(0, 2, 3, 1).flatten(0, 2)
