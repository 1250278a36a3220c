"""Metrics that mmpretrain and mmseg lack."""

from seitpp.evaluation.masked_code import MaskedCodeMetric
from seitpp.evaluation.reconstruction import ReconstructionMetric
from seitpp.evaluation.token_adapt import TokenAdaptMetric

__all__ = ["MaskedCodeMetric", "ReconstructionMetric", "TokenAdaptMetric"]
