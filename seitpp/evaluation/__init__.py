"""Metrics that mmpretrain and mmseg lack."""

from seitpp.evaluation.cross_entropy import CrossEntropy
from seitpp.evaluation.label_size_iou import LabelSizeIoUMetric
from seitpp.evaluation.masked_code import MaskedCodeMetric
from seitpp.evaluation.matched_accuracy import MatchedAccuracy
from seitpp.evaluation.reconstruction import ReconstructionMetric
from seitpp.evaluation.token_adapt import TokenAdaptMetric

__all__ = [
    "CrossEntropy",
    "LabelSizeIoUMetric",
    "MaskedCodeMetric",
    "MatchedAccuracy",
    "ReconstructionMetric",
    "TokenAdaptMetric",
]
