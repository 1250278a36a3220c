"""Masked Token Modelling (SeiT++, section 3.1)."""

from seitpp.models.mtm.mtm import MTM, MTMPretrainDecoder, MTMPretrainHead, MTMViT

__all__ = ["MTM", "MTMPretrainDecoder", "MTMPretrainHead", "MTMViT"]
