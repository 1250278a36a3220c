"""Metrics that mmpretrain and mmseg lack."""

from seitpp.evaluation.masked_code import MaskedCodeMetric
from seitpp.evaluation.reconstruction import ReconstructionMetric

__all__ = ["MaskedCodeMetric", "ReconstructionMetric"]
