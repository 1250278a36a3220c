"""Segmentation of tokens through mmseg."""

from seitpp.models.segmentation.data_preprocessor import TokenSegDataPreprocessor
from seitpp.models.segmentation.segmentor import TokenSegmentor

__all__ = ["TokenSegDataPreprocessor", "TokenSegmentor"]
