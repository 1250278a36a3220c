"""Vision transformer on tokens: codes through a learned embedding (MTM's family), or codebook embeddings (SeiT's)."""

from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_init
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from seitpp.io.checkpoint import check_state_dict, load_checkpoint_file, state_dict_of
from seitpp.io.text import shorten
from seitpp.layers.checkpointed_layer import CheckpointedLayer
from seitpp.registry import MODELS
from seitpp.tokenizers.codebook import load_codebook

# What a pre-trained encoder has and another use of it may lack: MTM's mask vector, and the last norm where features
# are read before it.
_NOT_NEEDED = ("mask_token", "ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias")


@MODELS.register_module()
class TokenEmbedding(BaseModule):
    """Learned embedding of codes: look-up, LayerNorm, dropout (release: as BERT's, with its own norm).

    Args:
        codebook_size: Number of codes K.
        code_dim: Values that a code is embedded in, D; the release takes the codebook's own 32.
        drop_rate: Dropout after the norm.
        init_std: Standard deviation of the initial values.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int,
        drop_rate: float = 0.1,
        eps: float = 1e-6,
        init_std: float = 0.02,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.codebook_size, self.init_std = codebook_size, init_std
        self.word_embeddings = nn.Embedding(codebook_size, code_dim)
        self.norm = nn.LayerNorm(code_dim, eps=eps)
        self.dropout = nn.Dropout(drop_rate)

    def init_weights(self) -> None:
        """Initialise the table with a truncated normal; the norm starts as the identity."""
        super().init_weights()
        trunc_normal_init(self.word_embeddings, std=self.init_std)

    def start_from_codebook(self, path: str | Path) -> None:
        """Let the table be `table_from_codebook` of a token store's codebook, or of what else `load_codebook` reads."""
        codebook = torch.from_numpy(load_codebook(path))
        size, code_dim = self.word_embeddings.weight.shape
        if len(codebook) != size or codebook.shape[1] > code_dim:
            raise ValueError(
                f"codebook {path} has {len(codebook)} vectors of {codebook.shape[1]} values; a token embedding with "
                f"codebook_size={size} and code_dim={code_dim} starts from {size} vectors of at most {code_dim}"
            )
        self.word_embeddings.weight.data.copy_(table_from_codebook(codebook, code_dim, self.init_std))

    def forward(self, codes: Tensor) -> Tensor:
        """Embed codes, (B, H, W) int64 in [0, K), as maps (B, D, H, W)."""
        return self.dropout(self.norm(self.word_embeddings(codes))).permute(0, 3, 1, 2)


def table_from_codebook(codebook: Tensor, code_dim: int, std: float) -> Tensor:
    """Return vectors (K, code_dim) with the relative distances of a codebook (K, D), D <= code_dim, spread by `std`.

    The codebook's mean is taken off. Where code_dim > D, vectors get one more value, a constant as large as they are
    long on average, and are turned into code_dim values by a fixed random orthonormal basis: the embedding's norm drops
    the mean and the length of a vector, in which alone codes of flat patches differ.
    """
    table = codebook.double() - codebook.double().mean(dim=0)
    length = table.square().sum(dim=1).mean().sqrt()
    if not length > 0:
        raise ValueError(f"all {len(codebook)} vectors of the codebook are the same; a token embedding needs others")
    if code_dim > codebook.shape[1]:
        table = torch.cat((table, length.expand(len(table), 1)), dim=1)
        noise = torch.randn(code_dim, table.shape[1], dtype=table.dtype, generator=torch.Generator().manual_seed(0))
        table = table @ torch.linalg.qr(noise)[0].T
    return (table * (std / table.std())).float()


@MODELS.register_module()
class TokenViT(VisionTransformer):
    """mmpretrain's `VisionTransformer` with tokens for pixels.

    Layer decay, position resizing, `out_indices`, `out_type` and `init_cfg=dict(type='Pretrained', ...)` are the
    parent's. Pre-trained weights that do not fit are an error here; the parent would train on from what does fit.

    Args:
        arch: Name or dict of sizes, as the parent takes it.
        grid_size: Height (and width) of the input in tokens, 28 for crops of 32 x 32 codes.
        patch_size: Height and width of a patch in tokens; the stem is a convolution of that size and stride unless
            `patch_cfg` says otherwise (SeiT's Stem-Adapter: `kernel_size=4, stride=2, padding=1`).
        codebook_size: Number of codes K for an input of codes; None for an input of embeddings.
        code_dim: Values that a token is embedded in.
        token_codebook: Store or file of the tokenizer's codebook, which the token embedding then starts from; None for
            random values.
        inflate_stem: Whether pre-trained weights of a non-overlapping stem may start a larger, overlapping one of the
            same stride: they become the centre of its kernel, the rest is 0, so that the network starts as the same
            function. Off, other shapes are an error.
        with_cp: Activation checkpointing: keep only the inputs of blocks for the backward pass, and run these again.
    """

    def __init__(
        self,
        arch: str | dict = "base",
        grid_size: int | tuple[int, int] = 28,
        patch_size: int = 2,
        codebook_size: int | None = None,
        code_dim: int = 32,
        token_drop_rate: float = 0.1,
        token_codebook: str | Path | None = None,
        inflate_stem: bool = False,
        with_cp: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(arch=arch, img_size=grid_size, patch_size=patch_size, in_channels=code_dim, **kwargs)
        if with_cp:
            for layer in self.layers:
                layer.__class__ = CheckpointedLayer  # it changes how the parent's blocks run, and adds no state
        self.code_dim, self.inflate_stem = code_dim, inflate_stem
        self.token_embed = None if codebook_size is None else TokenEmbedding(codebook_size, code_dim, token_drop_rate)
        self.token_codebook = token_codebook
        if token_codebook is not None and self.token_embed is None:
            raise ValueError(f"token_codebook is {token_codebook}, but a backbone of embeddings has no token embedding")
        if self.frozen_stages > 0:
            self._freeze_stages()  # again: the parent froze what there was before the embedding
        self._register_load_state_dict_pre_hook(self.rename_weights)

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Map codes (B, H, W) or embeddings (B, D, H, W) to the stem's input, (B, D, H, W)."""
        if self.token_embed is None:
            if not tokens.is_floating_point():
                raise ValueError(
                    f"the backbone takes embeddings but was given codes {tuple(tokens.shape)}; set its codebook_size, "
                    "or output='embeddings' in the data preprocessor"
                )
            return tokens
        if tokens.is_floating_point():
            raise ValueError(
                f"the backbone takes codes but was given embeddings {tuple(tokens.shape)}; set output='codes' in the "
                "data preprocessor, or leave out the backbone's codebook_size"
            )
        return self.token_embed(tokens)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Return features at `out_indices` as `out_type` says, from codes (B, H, W) or embeddings (B, D, H, W)."""
        return super().forward(self.embed_tokens(tokens))

    def train(self, mode: bool = True) -> "TokenViT":
        """Switch the mode; what is frozen (`frozen_stages`) stays in evaluation, without dropout and stochastic depth.

        The parent freezes once, and the training loop's first call would switch its dropout on again.
        """
        super().train(mode)
        if self.frozen_stages > 0:
            self._freeze_stages()
        return self

    def _freeze_stages(self) -> None:
        super()._freeze_stages()
        if getattr(self, "token_embed", None) is not None:  # not there yet when the parent calls this
            self.token_embed.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Initialise, after checking that pre-trained weights named by `init_cfg` fit this network.

        Pre-trained weights hold a token embedding, and `token_codebook` is not read then.
        """
        if self.pretrained_from is not None:
            self._check_pretrained(self.pretrained_from, self.init_cfg.get("prefix") or "")
        super().init_weights()
        if self.token_codebook is not None and self.pretrained_from is None:
            self.token_embed.start_from_codebook(self.token_codebook)

    @property
    def pretrained_from(self) -> str | None:
        """Checkpoint that `init_cfg` names, if it names one."""
        is_pretrained = isinstance(self.init_cfg, dict) and self.init_cfg.get("type") == "Pretrained"
        return self.init_cfg["checkpoint"] if is_pretrained else None

    def _check_pretrained(self, path: str, prefix: str) -> None:
        prefix = prefix.rstrip(".") + "." if prefix else ""
        weights = state_dict_of(load_checkpoint_file(path), path)
        found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        if not found:
            raise ValueError(f"checkpoint {path} has no key that begins with {prefix!r}; it holds {shorten(weights)}")
        self._rename_final_norm(found, "")
        self._inflate_stem(found, "")
        advice = "Name one that was trained on such tokens as model.backbone.init_cfg.checkpoint"
        expected = self.state_dict()
        check_state_dict(found, expected, path, may_exceed=_NOT_NEEDED, resizable=("pos_embed",), advice=advice)

    def rename_weights(self, state_dict: dict[str, Tensor], prefix: str = "", *_args: object) -> None:
        """Fit, in place, weights of another use of this encoder: names, the stem, and MTM's mask vector if unused."""
        self._rename_final_norm(state_dict, prefix)
        self._inflate_stem(state_dict, prefix)
        if not hasattr(self, "mask_token"):
            state_dict.pop(f"{prefix}mask_token", None)

    def _rename_final_norm(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        """Name the one norm after the last block: `ln1` in an encoder, `ln2` where pooling comes first.

        The release keeps one name for both, so that fine-tuning continues from the pre-trained norm.
        """
        ours, other = ("ln2", "ln1") if self.out_type == "avg_featmap" else ("ln1", "ln2")
        if self.final_norm == (self.out_type == "avg_featmap"):
            return  # Two norms, or none: nothing to rename.
        for name in ("weight", "bias"):
            source, target = f"{prefix}{other}.{name}", f"{prefix}{ours}.{name}"
            if source in state_dict and target not in state_dict:
                state_dict[target] = state_dict.pop(source)

    def _inflate_stem(self, state_dict: dict[str, Tensor], prefix: str) -> None:
        name = f"{prefix}patch_embed.projection.weight"
        if self.inflate_stem and name in state_dict:
            state_dict[name] = inflate_kernel(state_dict[name], self.patch_embed.projection)


def inflate_kernel(weight: Tensor, stem: nn.Conv2d) -> Tensor:
    """Pad the weights (C, D, k, k) of a stem of stride k with zeros to the kernel of `stem`, where that is larger.

    Raises:
        ValueError: `stem` has another stride, or its padding does not leave the weights over the same tokens.
    """
    given, kernel = tuple(weight.shape[2:]), stem.kernel_size
    if len(given) != 2 or given == kernel or any(k > larger for k, larger in zip(given, kernel, strict=True)):
        return weight  # fits, or is refused for its shape
    rows, columns = stem.padding
    centred = (given[0] + 2 * rows, given[1] + 2 * columns) == kernel
    if not centred or stem.stride != given or stem.dilation != (1, 1):
        raise ValueError(
            f"inflate_stem: patch_cfg has kernel_size={kernel}, stride={stem.stride}, padding={stem.padding}, "
            f"dilation={stem.dilation}; for a stem of {given} in the checkpoint it needs stride={given}, no dilation, "
            "and as padding half of what the kernel is larger by, so that the weights stay over the same tokens"
        )
    return F.pad(weight, (columns, columns, rows, rows))
