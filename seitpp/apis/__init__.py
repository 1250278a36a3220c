"""Trained models in use: from a config and a checkpoint to predictions."""

from seitpp.apis.classification import TokenClassificationInferencer
from seitpp.apis.loading import load_classifier, load_segmentor
from seitpp.apis.segmentation import TokenSegInferencer

__all__ = ["TokenClassificationInferencer", "TokenSegInferencer", "load_classifier", "load_segmentor"]
