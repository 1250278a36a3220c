"""Networks, and the data preprocessor that feeds them."""

from seitpp.models.data_preprocessor import TokenDataPreprocessor
from seitpp.models.knn_head import KNNHead
from seitpp.models.mtm import MTM, MTMPretrainDecoder, MTMPretrainHead, MTMViT
from seitpp.models.patch_discriminator import PatchDiscriminator
from seitpp.models.seg_data_preprocessor import TokenSegDataPreprocessor
from seitpp.models.segmentor import TokenSegmentor
from seitpp.models.token_adapt import TokenAdapt
from seitpp.models.token_adapt_pretrain import TokenAdaptPretrain
from seitpp.models.token_embedding import TokenEmbedding
from seitpp.models.token_pair_preprocessor import TokenPairDataPreprocessor
from seitpp.models.token_vit import TokenViT
from seitpp.models.vq_trainer import VQTokenizerTrainer

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
    "TokenPairDataPreprocessor",
    "TokenSegDataPreprocessor",
    "TokenSegmentor",
    "TokenViT",
    "VQTokenizerTrainer",
]
