"""Trained models in use: from a config and a checkpoint to predictions."""

from seitpp.apis.classification import TokenClassificationInferencer
from seitpp.apis.loading import load_classifier

__all__ = ["TokenClassificationInferencer", "load_classifier"]
