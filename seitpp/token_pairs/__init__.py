"""Pairs of tokens that TokenAdapt trains from: their files, who makes them, their data set and data preprocessor."""

from seitpp.token_pairs.dataset import TokenPairDataPreprocessor, TokenPairDataset
from seitpp.token_pairs.format import TokenPairReader, TokenPairWriter

__all__ = ["TokenPairDataPreprocessor", "TokenPairDataset", "TokenPairReader", "TokenPairWriter"]
