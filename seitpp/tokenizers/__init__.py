"""Images to codes and back; frozen networks, usable without the rest of the package."""

from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.from_store import tokenizer_from_store
from seitpp.tokenizers.patch_kmeans import PatchKMeans

__all__ = ["PatchKMeans", "Tokenizer", "tokenizer_from_store"]
