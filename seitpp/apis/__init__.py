"""Trained models in use: from a config and a checkpoint to predictions."""

from seitpp.apis.classification import TokenClassificationInferencer
from seitpp.apis.feature_extractor import FeatureExtractor
from seitpp.apis.inference import get_inferencer, inference_model
from seitpp.apis.loading import load_classifier, load_segmentor
from seitpp.apis.model_index import list_models
from seitpp.apis.models import get_model
from seitpp.apis.segmentation import TokenSegInferencer

__all__ = [
    "FeatureExtractor",
    "TokenClassificationInferencer",
    "TokenSegInferencer",
    "get_inferencer",
    "get_model",
    "inference_model",
    "list_models",
    "load_classifier",
    "load_segmentor",
]
