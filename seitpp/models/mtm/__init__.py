"""Masked Token Modelling (SeiT++, Sec. 3.2)."""

from seitpp.models.mtm.mtm import MTM, MTMPretrainDecoder, MTMPretrainHead, MTMViT

__all__ = ["MTM", "MTMPretrainDecoder", "MTMPretrainHead", "MTMViT"]
