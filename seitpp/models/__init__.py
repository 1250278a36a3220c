"""Networks, and the data preprocessor that feeds them."""

from seitpp.models.data_preprocessor import TokenDataPreprocessor
from seitpp.models.mtm import MTM, MTMPretrainDecoder, MTMPretrainHead, MTMViT
from seitpp.models.token_embedding import TokenEmbedding
from seitpp.models.token_vit import TokenViT

__all__ = [
    "MTM",
    "MTMPretrainDecoder",
    "MTMPretrainHead",
    "MTMViT",
    "TokenDataPreprocessor",
    "TokenEmbedding",
    "TokenViT",
]
