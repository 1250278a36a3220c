"""Loss terms of a VQ tokenizer, as functions of tensors.

VQ-VAE's two terms (van den Oord et al. 2017, eq. 3) with its straight-through gradient, and VQGAN's adversarial terms
(Esser et al. 2021, eq. 5 to 7) in their hinge form. All are means, in float32.
"""

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from torch import Tensor


def straight_through(vectors: Tensor, quantized: Tensor) -> Tensor:
    """Return the quantized vectors with the gradient of the vectors that they replace; any shape."""
    return vectors + (quantized - vectors).detach()


def commitment_loss(vectors: Tensor, quantized: Tensor) -> Tensor:
    """Compute the squared distance that pulls vectors to their codes; no gradient to the codebook."""
    return F.mse_loss(vectors.float(), quantized.detach().float())


def codebook_loss(vectors: Tensor, quantized: Tensor) -> Tensor:
    """Compute the squared distance that pulls codes to their vectors; no gradient to the encoder."""
    return F.mse_loss(quantized.float(), vectors.detach().float())


def hinge_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Compute the discriminator's loss: zero once real scores exceed 1 and fake scores fall below -1."""
    return (F.relu(1 - real_logits.float()).mean() + F.relu(1 + fake_logits.float()).mean()) / 2


def hinge_generator_loss(fake_logits: Tensor) -> Tensor:
    """Compute the tokenizer's adversarial loss: the negative mean score of its reconstructions."""
    return -fake_logits.float().mean()


def adaptive_weight(
    reconstruction: Tensor, adversarial: Tensor, last_layer: Tensor, delta: float = 1e-4, largest: float = 1e4
) -> Tensor:
    """Compute the weight at which both losses move the decoder's last layer equally (Esser et al. 2021, eq. 7).

    Gradients are averaged over processes, so that ranks agree. The weight has no gradient, and is at most `largest`;
    `delta` is added to the divisor.
    """
    norms = []
    for loss in (reconstruction, adversarial):
        (gradient,) = torch.autograd.grad(loss, last_layer, retain_graph=True)
        all_reduce(gradient, op="mean")
        norms.append(gradient.norm())
    return (norms[0] / (norms[1] + delta)).clamp(0, largest)
