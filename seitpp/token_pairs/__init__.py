"""Pairs of tokens that TokenAdapt trains from: their files, who makes them, their data set and preprocessor."""

from seitpp.token_pairs.data_preprocessor import TokenPairDataPreprocessor
from seitpp.token_pairs.dataset import TokenPairDataset

__all__ = ["TokenPairDataPreprocessor", "TokenPairDataset"]
