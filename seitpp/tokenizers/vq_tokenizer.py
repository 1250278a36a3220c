"""Tokenizers made of networks around a codebook: embed, quantise, look up, reconstruct; loading of weights.

An encoder turns an image into a grid of vectors, each is replaced by the nearest row of the codebook, a decoder turns
the rows into an image again (van den Oord et al., 2017). `ViTVQGAN` and `VQGAN` define the networks.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seitpp.images.resizing import ResizeRule
from seitpp.io.checkpoint import check_finite, check_state_dict, load_checkpoint_file, state_dict_of
from seitpp.storage.code_table import CodeTable
from seitpp.tokenizers.base import ResizeMode, Tokenizer, as_size
from seitpp.tokenizers.codebook import NEAREST_CODES, CodeSubset, check_code_subset, read_code_subset
from seitpp.tokenizers.identity import check_same_tokenizer, codebook_identity
from seitpp.tokenizers.precision import exact_float32, network_precision

Distance = Literal["cosine", "euclidean"]
Precision = Literal["float32", "bfloat16"]

# Prefix of a tokenizer's weights in a checkpoint of a run that trains it.
_TRAINED_PREFIX = "tokenizer."
_DECODER = "decoder."


class VQTokenizer(Tokenizer):
    """Base of tokenizers whose codes index a codebook of vectors that a network makes.

    A subclass builds its networks and hands them over. It calls `load_options` last, which reads files and cuts the
    codebook down. `image_size`, `resize_mode` and `resize` are attributes of every `Tokenizer`.

    `encode` and `decode` are for use: without gradient, at the tokenizer's `precision` whatever autocast surrounds
    them. `embed`, `quantize`, `lookup` and `reconstruct` are their steps, for training: with gradient, in the
    surrounding autocast, except for distances, which are always float32.

    Args:
        encoder: Images (B, C, H, W) in `pixel_range` to vectors (B, D, h, w).
        decoder: Vectors (B, D, h, w) to images (B, C, H, W).
        codebook_size: Number of codes K, before a subset is taken.
        code_dim: Values per code, D.
        distance: `euclidean`, or `cosine`: both sides are L2-normalised, also the rows that `lookup` returns.
        precision: Precision of the networks in `encode` and `decode`: `float32` or `bfloat16`.

    Attributes:
        codebook: Rows as the checkpoint stores them, not normalised, (K, D).
        code_subset: Original codes in use, (K',), int64, or None for all.
        checkpoint: Path of the weights' file as given, or None for random weights.
    """

    codebook: nn.Parameter

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        codebook_size: int,
        code_dim: int,
        distance: Distance,
        image_size: int | Sequence[int],
        resize_mode: ResizeMode,
        resize: ResizeRule = "bicubic",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
        if distance not in NEAREST_CODES:
            raise ValueError(f"distance must be 'cosine' or 'euclidean', got {distance!r}")
        self.image_size = as_size(image_size)
        self.set_resizing(resize, resize_mode)
        self.precision = precision
        self.distance = distance
        self.code_subset: Tensor | None = None
        self.checkpoint: str | None = None
        self.encoder = encoder
        self.decoder: nn.Module | None = decoder
        self.codebook = nn.Parameter(torch.randn(codebook_size, code_dim) / code_dim**0.5)
        self._whole_size = codebook_size
        self._hash: tuple[Any, str] | None = None

    def load_options(
        self,
        checkpoint: str | Path | None = None,
        code_subset: CodeSubset | None = None,
        codebook: Tensor | np.ndarray | None = None,
    ) -> None:
        """Apply the constructors' options of these names, in this order.

        Args:
            checkpoint: A file of tools/convert_checkpoint.py (`.pth`, `.safetensors`), or a checkpoint of a run that
                trained a tokenizer, of which only keys under `tokenizer.` are taken.
            code_subset: Original codes to use: integers, a `.npy` file of them, or a token store with a code table.
            codebook: A store's codebook, after the subset; it is set without a checkpoint, and compared with one.
        """
        table = None if code_subset is None else read_code_subset(code_subset)
        if checkpoint is not None:
            self._load(Path(checkpoint), table)
        elif table is not None:
            self.take_subset(table)
        if codebook is not None and checkpoint is None:
            self._set_codebook(codebook)
        elif codebook is not None:
            self.expect_codebook(codebook)

    @property
    def can_decode(self) -> bool:
        return self.decoder is not None

    def encode(self, images: Tensor) -> Tensor:
        with torch.no_grad(), network_precision(images.device.type, self.precision):
            return self.quantize(self.embed(images))

    def decode(self, codes: Tensor) -> Tensor:
        if codes.ndim != 3 or codes.is_floating_point() or codes.dtype == torch.bool:
            raise ValueError(f"codes are {codes.dtype} of shape {tuple(codes.shape)}; expected integers (B, h, w)")
        if codes.numel() and (codes.min() < 0 or codes.max() >= self.codebook_size):
            raise ValueError(
                f"codes lie in [{codes.min()}, {codes.max()}]; this tokenizer has codes in [0, {self.codebook_size})"
            )
        return self.decode_known(codes)

    def decode_known(self, codes: Tensor) -> Tensor:
        with torch.no_grad(), network_precision(codes.device.type, self.precision):
            return self.reconstruct(self.lookup(codes)).float()

    def embed(self, images: Tensor) -> Tensor:
        """Return the encoder's vectors before quantisation: images (B, C, H, W) to (B, D, h, w)."""
        self.check_images(images)
        return self.encoder(images)

    def quantize(self, vectors: Tensor) -> Tensor:
        """Find the nearest code of each vector in float32: (B, D, h, w) to (B, h, w), int64; no gradient."""
        with exact_float32(vectors.device.type):
            return NEAREST_CODES[self.distance](vectors.detach().movedim(1, -1), self.codebook.detach())

    def lookup(self, codes: Tensor) -> Tensor:
        """Look up the codebook rows (B, D, h, w) of codes (B, h, w), float32, unit vectors if distance is `cosine`."""
        rows = F.normalize(self.codebook, dim=-1) if self.distance == "cosine" else self.codebook
        return F.embedding(codes.long(), rows).movedim(-1, 1)

    def reconstruct(self, vectors: Tensor) -> Tensor:
        """Decode quantised vectors (B, D, h, w) to images (B, C, H, W), not clamped to `pixel_range`."""
        if self.decoder is None:
            raise ValueError(
                f"{type(self).__name__} cannot decode: checkpoint {self.checkpoint} holds no decoder weights. Convert "
                "the published file again with its decoder"
            )
        return self.decoder(vectors)

    def take_subset(self, table: CodeSubset) -> None:
        """Keep only these codes, in this order: code i then stands for `table[i]`.

        Images are matched against the kept rows alone, so a vector whose nearest code was left out gets the nearest
        kept one (as in SeiT, which keeps 391 of 8,192). `ValueError` unless the codes are different ones of its own.
        """
        table = check_code_subset(read_code_subset(table), self.codebook_size)
        self._keep_rows(table.to(self.codebook.device))
        self.code_subset = table if self.code_subset is None else self.code_subset[table]

    def _keep_rows(self, rows: Tensor) -> None:
        """Cut everything with one row per code down to these codes (K',)."""
        self.codebook = nn.Parameter(self.codebook.detach()[rows], requires_grad=self.codebook.requires_grad)

    @property
    def code_table(self) -> CodeTable | None:
        """Code table that a store records: the kept codes among those of the whole codebook."""
        return None if self.code_subset is None else CodeTable(self.code_subset.numpy(), self._whole_size)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 (hex) over all weights, which stores record; cached in evaluation mode while these are the same."""
        state = self.state_dict()
        key = [(name, value.data_ptr(), value._version) for name, value in state.items()]
        # An optimizer may write past the version counters, through `.data`.
        if self.training or self._hash is None or self._hash[0] != key:
            self._hash = key, weights_sha256(state)
        return self._hash[1]

    def train(self, mode: bool = True) -> "VQTokenizer":
        self._hash = None
        return super().train(mode)

    @property
    def preset(self) -> str | None:
        """Name of the published model of the networks' sizes, which converted files carry; or None."""
        return None

    @abstractmethod
    def describe_networks(self) -> dict:
        """Return the options that build the networks again, for `describe`."""

    def describe(self) -> dict:
        subset = {} if self.code_subset is None else {"code_subset": self.code_subset.tolist()}
        return {
            "type": type(self).__name__,
            **self.describe_networks(),
            "image_size": list(self.image_size),
            **self.describe_resizing(),
            "precision": self.precision,
            "distance": self.distance,
            **subset,
            "checkpoint": self.checkpoint,
            "weights_sha256": self.weights_sha256,
            "preprocessing": self.describe_preprocessing(),
        }

    def _load(self, path: Path, table: Tensor | None) -> None:
        """Load weights; the subset is taken before if the file holds a cut-down codebook, else after."""
        content = load_checkpoint_file(path)
        weights = state_dict_of(content, path)
        trained = trained_weights(weights)
        if not trained:
            check_preset(content, self.preset, path)
        weights = trained or weights
        stored = weights.get("codebook")
        is_cut = table is not None and stored is not None and len(stored) == len(table) != self.codebook_size
        if is_cut:
            self.take_subset(table)
        self.load_weights(weights, path)
        if table is not None and not is_cut:
            self.take_subset(table)
        self.checkpoint = str(path)

    def load_weights(self, weights: Mapping[str, Tensor], source: str | Path) -> None:
        """Load weights by our names, checked; without any of the decoder's, the tokenizer can only encode."""
        expected = self.state_dict()
        of_decoder = [name for name in expected if name.startswith(_DECODER)]
        no_decoder = not any(name.startswith(_DECODER) for name in weights)
        check_state_dict(weights, expected, source, may_miss=of_decoder if no_decoder else ())
        if no_decoder:
            self.decoder = None
        self.load_state_dict(weights)

    def expect_codebook(self, codebook: Tensor | np.ndarray) -> None:
        """Raise `ValueError` if a store's codebook is another one: another tokenizer made the store."""
        own = codebook_identity(self.codebook)
        check_same_tokenizer(codebook_identity(codebook), "the store", own, f"checkpoint {self.checkpoint}")

    def _set_codebook(self, codebook: Tensor | np.ndarray) -> None:
        values = torch.as_tensor(codebook, dtype=torch.float32)
        if values.shape != self.codebook.shape:
            raise ValueError(
                f"codebook of shape {tuple(values.shape)} does not fit; expected K x D = {tuple(self.codebook.shape)}"
            )
        check_finite({"codebook": values}, "the codebook of the store")
        self.codebook = nn.Parameter(values.clone(), requires_grad=self.codebook.requires_grad)


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 (hex) over names, types, shapes and values of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def trained_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tokenizer's weights in a checkpoint of a run that trained it; empty for other checkpoints."""
    return {
        name.removeprefix(_TRAINED_PREFIX): value for name, value in weights.items() if name.startswith(_TRAINED_PREFIX)
    }


def check_preset(content: Any, preset: str | None, path: str | Path) -> None:
    """Raise `ValueError` for a converted file of another published model than the networks are sized for."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    found = meta.get("preset") if isinstance(meta, Mapping) else None
    if found is not None and preset is not None and found != preset:
        raise ValueError(
            f"checkpoint {path} was converted as {found!r}, the tokenizer is configured as {preset!r}; give it the "
            f"config of {found!r}, or the file of {preset!r}"
        )


@torch.no_grad()
def changed_share(tokenizer: VQTokenizer, images: Tensor) -> float:
    """Measure the share of codes, in [0, 1], that change when the networks run in bfloat16 instead of float32."""
    before = tokenizer.precision
    try:
        codes = {}
        for precision in ("float32", "bfloat16"):
            tokenizer.precision = precision
            codes[precision] = tokenizer.encode(images)
    finally:
        tokenizer.precision = before
    return (codes["float32"] != codes["bfloat16"]).float().mean().item()
