"""Images to codes and back; frozen networks, usable without the rest of the package."""

from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.block_dct import BlockDCT
from seitpp.tokenizers.from_store import tokenizer_from_store
from seitpp.tokenizers.patch_kmeans import PatchKMeans
from seitpp.tokenizers.pixel_range import probe_pixel_range
from seitpp.tokenizers.vit_vqgan import ViTVQGAN
from seitpp.tokenizers.vq_tokenizer import VQTokenizer, changed_share
from seitpp.tokenizers.vqgan import VQGAN

__all__ = [
    "VQGAN",
    "BlockDCT",
    "PatchKMeans",
    "Tokenizer",
    "VQTokenizer",
    "ViTVQGAN",
    "changed_share",
    "probe_pixel_range",
    "tokenizer_from_store",
]
