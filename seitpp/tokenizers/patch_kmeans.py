"""A VQ tokenizer that is fitted in seconds and needs no network: the code of a patch is its nearest cluster centre.

The quickstart's tokenizer, and a baseline for learned ones.
"""

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seitpp.io.progress import Advance, progress_bar
from seitpp.registry import TOKENIZERS
from seitpp.tokenizers.base import Tokenizer, as_size
from seitpp.tokenizers.codebook import load_codebook, nearest_codes_euclidean


class _Rounds(io.TextIOBase):
    """Takes what scikit-learn prints of its k-means, a line per round, which is all that it tells of its progress."""

    def __init__(self, progress: Advance, most: int) -> None:
        self._progress, self._most, self._done = progress, most, 0

    def write(self, text: str) -> int:
        if text.startswith("Iteration"):
            self._done += 1
            self._progress(self._done, self._most)
        return len(text)


@TOKENIZERS.register_module()
class PatchKMeans(Tokenizer):
    """K-means on patches: a code is a cluster, its vector the mean patch.

    Args:
        image_size: Height and width that images are resized to, multiples of `patch_size`.
        patch_size: Height and width of a patch in pixels.
        codebook: Fitted centres, (K, in_channels * patch_size ** 2), or what `load_codebook` reads them from, such as
            a store that this tokenizer made; None until `fit` was called.
    """

    distance = "euclidean"

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int,
        in_channels: int = 3,
        codebook: Tensor | np.ndarray | str | Path | None = None,
    ) -> None:
        super().__init__()
        self.image_size = as_size(image_size)
        if any(side % patch_size for side in self.image_size):
            raise ValueError(f"image size {self.image_size} is not a multiple of the patch size {patch_size}")
        self.stride = patch_size
        self.in_channels = in_channels
        dims = in_channels * patch_size**2
        if isinstance(codebook, (str, Path)):
            codebook = load_codebook(codebook)
        values = torch.zeros(0, dims) if codebook is None else torch.as_tensor(codebook, dtype=torch.float32)
        if values.ndim != 2 or values.shape[1] != dims:
            raise ValueError(
                f"codebook of shape {tuple(values.shape)} does not fit patches of {in_channels} x {patch_size} x "
                f"{patch_size} pixels; expected (K, {dims})"
            )
        self.register_buffer("codebook", values.clone())

    def fit(self, images: Tensor, codebook_size: int, seed: int = 0, max_patches: int = 1 << 18) -> "PatchKMeans":
        """Find the cluster centres of images (B, C, H, W), resized first; frequent codes first as in the SeiT release.

        `max_patches` are drawn to fit on, where there are more; `seed` is that of the start and of this choice.
        """
        from sklearn.cluster import KMeans

        patches = self._patches(self.resize(images)).flatten(0, 2).numpy()
        if len(patches) > max_patches:
            patches = patches[np.random.default_rng(seed).choice(len(patches), max_patches, replace=False)]
        # Sorting all of them takes long, and a few tell in nearly every case.
        few = len(np.unique(patches[: 8 * codebook_size], axis=0))
        distinct = few if few >= codebook_size else len(np.unique(patches, axis=0))
        if distinct < codebook_size:
            raise ValueError(
                f"{len(images)} images have {distinct} different patches, fewer than the {codebook_size} codes wanted"
            )
        kmeans = KMeans(codebook_size, n_init=1, random_state=seed, verbose=1)
        name = f"k-means of {len(patches):,} patches, at most"
        with progress_bar(name, "rounds") as progress, redirect_stdout(_Rounds(progress, kmeans.max_iter)):
            centres = kmeans.fit(patches).cluster_centers_
        codes = nearest_codes_euclidean(torch.from_numpy(patches), torch.from_numpy(centres))
        counts = np.bincount(codes.numpy(), minlength=codebook_size)
        self.codebook = torch.from_numpy(centres[np.argsort(-counts, kind="stable")]).float()
        return self

    def encode(self, images: Tensor) -> Tensor:
        self._require_codebook()
        self.check_images(images)
        return nearest_codes_euclidean(self._patches(images), self.codebook)

    def decode(self, codes: Tensor) -> Tensor:
        self._require_codebook()
        patches = F.embedding(codes, self.codebook).permute(0, 3, 1, 2)  # (B, C p p, h, w)
        return F.pixel_shuffle(patches, self.stride)

    def describe(self) -> dict:
        return {
            "type": "PatchKMeans",
            "image_size": list(self.image_size),
            "patch_size": self.stride,
            "in_channels": self.in_channels,
            "preprocessing": self.describe_preprocessing(),
        }

    def _patches(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to (B, h, w, C p p)."""
        return F.pixel_unshuffle(images, self.stride).permute(0, 2, 3, 1)

    def _require_codebook(self) -> None:
        if not len(self.codebook):
            raise ValueError("PatchKMeans has no codebook yet; call fit(images, codebook_size), or give it one")
