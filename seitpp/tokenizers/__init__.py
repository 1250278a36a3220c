"""Images to codes and back; frozen networks, usable without the rest of the package."""

from seitpp.tokenizers.base import Tokenizer
from seitpp.tokenizers.patch_kmeans import PatchKMeans

__all__ = ["PatchKMeans", "Tokenizer"]
