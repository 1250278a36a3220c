"""Networks, and the data preprocessor that feeds them."""

from seitpp.models.data_preprocessor import TokenDataPreprocessor
from seitpp.models.knn_head import KNNHead
from seitpp.models.mtm import MTM, MTMPretrainDecoder, MTMPretrainHead, MTMViT
from seitpp.models.segmentation import TokenSegDataPreprocessor, TokenSegmentor
from seitpp.models.token_adapt import TokenAdapt, TokenAdaptPretrain
from seitpp.models.token_vit import TokenEmbedding, TokenViT
from seitpp.models.vq import PatchDiscriminator, VQTokenizerTrainer

__all__ = [
    "MTM",
    "KNNHead",
    "MTMPretrainDecoder",
    "MTMPretrainHead",
    "MTMViT",
    "PatchDiscriminator",
    "TokenAdapt",
    "TokenAdaptPretrain",
    "TokenDataPreprocessor",
    "TokenEmbedding",
    "TokenSegDataPreprocessor",
    "TokenSegmentor",
    "TokenViT",
    "VQTokenizerTrainer",
]
