"""Training of VQ tokenizers."""

from seitpp.models.vq.patch_discriminator import PatchDiscriminator
from seitpp.models.vq.trainer import VQTokenizerTrainer

__all__ = ["PatchDiscriminator", "VQTokenizerTrainer"]
