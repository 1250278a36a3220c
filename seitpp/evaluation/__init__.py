"""Metrics that mmpretrain and mmseg lack."""

from seitpp.evaluation.masked_code import MaskedCodeMetric

__all__ = ["MaskedCodeMetric"]
