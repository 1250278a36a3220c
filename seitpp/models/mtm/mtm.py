"""Masked Token Modelling: hide patches of a token grid and predict the hidden codes (SeiT++, Sec. 3.2, eq. 1).

The encoder sees what is not dropped, the decoder sees every patch again, and the head scores each hidden token. Paper:
the mask ratio is drawn from a truncated normal, the encoder reads the visible patches, the decoder's input is filled up
with a learned mask token. The authors' release, followed here, differs: it drops a fixed share and replaces the other
masked patches by a learned vector before the encoder (after MAGE), fills the decoder's input with the encoder's class
token, and scores tokens by their product with the token embedding table.

Legend: B samples, H x W tokens, p patch size, N = H W / p^2 patches, T = p^2 tokens per patch, M masked patches,
R patches in the encoder, K codes, D values per code, C encoder width, E decoder width.
"""

from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
from mmpretrain.models.utils import build_norm_layer
from mmpretrain.structures import DataSample
from torch import Tensor

from seitpp.layers.checkpointed_layer import CheckpointedLayer
from seitpp.layers.positions import sincos_position_table
from seitpp.models.mtm.masking import Masks, TruncatedNormalRatio, count_patches, draw_masks, hashed_uniform
from seitpp.models.token_vit import TokenViT
from seitpp.registry import MODELS


@MODELS.register_module()
class MTM(BaseSelfSupervisor):
    """Masked Token Modelling, a self-supervised model in mmpretrain's manner.

    The sizes of neck and head follow from the backbone and may be left out of their configs.

    Args:
        backbone: Config of an `MTMViT`.
        neck: Config of an `MTMPretrainDecoder`, and `head` of an `MTMPretrainHead`.
        mask_ratio: Options of `TruncatedNormalRatio`; one ratio per batch. `low` is also the share that is dropped.
        eval_mask_ratio: Ratio in validation and test, where masks depend on the sample alone.
        **kwargs: `data_preprocessor` and `init_cfg`, as `BaseSelfSupervisor` takes them.
    """

    def __init__(
        self,
        backbone: dict | nn.Module,
        neck: dict,
        head: dict,
        mask_ratio: dict | None = None,
        eval_mask_ratio: float = 0.6,
        **kwargs: object,
    ) -> None:
        encoder = backbone if isinstance(backbone, nn.Module) else MODELS.build(backbone)
        decoder = _build("neck", neck, num_patches=encoder.num_patches, embed_dims=encoder.embed_dims)
        codebook_size, code_dim = encoder.token_embed.word_embeddings.weight.shape
        head = _build(
            "head",
            head,
            codebook_size=codebook_size,
            code_dim=code_dim,
            decoder_embed_dims=decoder.decoder_embed.out_features,
            patch_size=encoder.img_size[0] // encoder.patch_resolution[0],
        )
        super().__init__(backbone=encoder, neck=decoder, head=head, **kwargs)
        self.mask_ratio = TruncatedNormalRatio(**(mask_ratio or {}))
        if not self.mask_ratio.low <= eval_mask_ratio <= 1:
            raise ValueError(f"eval_mask_ratio must be in [{self.mask_ratio.low}, 1], got {eval_mask_ratio}")
        self.eval_mask_ratio = eval_mask_ratio

    @property
    def embedding_table(self) -> Tensor:
        """Raw vectors of the token embedding, (K, D)."""
        return self.backbone.token_embed.word_embeddings.weight

    def forward(
        self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor] | list[DataSample] | Tensor | tuple[Tensor, ...]:
        """Run one of mmengine's modes: `tensor` (features, nothing hidden), `loss`, `predict`."""
        if mode == "predict":
            return self.predict(inputs, data_samples)
        return super().forward(inputs, data_samples, mode)

    def loss(self, inputs: Tensor, data_samples: list[DataSample] | None = None) -> dict[str, Tensor]:
        """Compute `loss`, in nats, of codes (B, H, W), int64, on freshly drawn masks; labels play no part."""
        noise = torch.rand(len(inputs), self.backbone.num_patches, device=inputs.device)
        return self.loss_on_masks(inputs, self.make_masks(noise, self.mask_ratio.sample()))

    def make_masks(self, noise: Tensor, mask_ratio: float) -> Masks:
        """Choose masked and dropped patches for one ratio, from one number per patch (B, N)."""
        num_patches = noise.shape[1]
        dropped = count_patches(num_patches, self.mask_ratio.low)
        return draw_masks(noise, max(count_patches(num_patches, mask_ratio), dropped), dropped)

    def loss_on_masks(self, codes: Tensor, masks: Masks) -> dict[str, Tensor]:
        """Compute the loss of codes (B, H, W) on given masks."""
        decoded = self.neck(self.backbone(codes, masks), masks)
        return self.head.loss(decoded, codes, masks, self.embedding_table)

    def predict(self, inputs: Tensor, data_samples: list[DataSample]) -> list[DataSample]:
        """Score the hidden codes of each sample, on masks that depend on its `sample_idx` alone.

        Samples get the `num_codes` hidden, `num_correct` of them predicted, and their summed `nll` in nats.
        """
        masks = self.eval_masks(data_samples, inputs.device)
        decoded = self.neck(self.backbone(inputs, masks), masks)
        logits, targets = self.head.masked_logits(decoded, inputs, masks, self.embedding_table)
        nll = F.cross_entropy(logits.float().flatten(0, 2), targets.flatten(), reduction="none").view_as(targets)
        correct = (logits.argmax(dim=-1) == targets).sum(dim=(1, 2)).tolist()
        nll = nll.double().sum(dim=(1, 2)).tolist()
        for sample, sample_correct, sample_nll in zip(data_samples, correct, nll, strict=True):
            sample.set_field(sample_correct, "num_correct", dtype=int)
            sample.set_field(sample_nll, "nll", dtype=float)
            sample.set_field(targets[0].numel(), "num_codes", dtype=int)
            sample.set_field(self.head.bias.numel(), "codebook_size", dtype=int)
        return data_samples

    def eval_masks(self, data_samples: list[DataSample], device: torch.device) -> Masks:
        """Return the masks of validation and test, a function of each sample's index in the data set."""
        indices = torch.tensor([sample.sample_idx for sample in data_samples], device=device)
        return self.make_masks(hashed_uniform(indices, self.backbone.num_patches), self.eval_mask_ratio)

    @torch.no_grad()
    def reconstruct(self, codes: Tensor, masks: Masks) -> Tensor:
        """Replace the codes (B, H, W) of every hidden patch by the most likely ones."""
        decoded = self.neck(self.backbone(codes, masks), masks)
        logits, _ = self.head.masked_logits(decoded, codes, masks, self.embedding_table)
        patches = patchify_codes(codes, self.head.patch_size)
        ids = masks.ids_mask[..., None].expand(-1, -1, patches.shape[-1])
        return unpatchify_codes(patches.scatter(1, ids, logits.argmax(dim=-1)), codes.shape[1:], self.head.patch_size)


def _build(part: str, config: dict, **sizes: int) -> nn.Module:
    """Build a part of MTM with the sizes that follow from the other parts."""
    for name, size in sizes.items():
        if config.get(name, size) != size:
            source = "neck" if name == "decoder_embed_dims" else "backbone"
            raise ValueError(f"{part}.{name} is {config[name]!r}, but the {source} makes it {size}; leave it out")
    return MODELS.build({**config, **sizes})


@MODELS.register_module()
class MTMViT(TokenViT):
    """Encoder of MTM: a `TokenViT`, with its options, that can hide and drop patches; positions are fixed.

    Args:
        hide_before_stem: Whether the embeddings of hidden codes are set to 0 before the stem. A stem with windows that
            overlap (`patch_cfg`) needs that, and is refused without: visible patches would tell of hidden codes.
    """

    def __init__(self, hide_before_stem: bool = False, **kwargs: Any) -> None:
        super().__init__(**{"out_type": "raw", **kwargs})
        self.hide_before_stem = hide_before_stem
        self._check_stem()
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dims))
        self.pos_embed.requires_grad = False

    def _check_stem(self) -> None:
        """Refuse a stem whose windows reach beyond their patches, unless hidden codes are out of its sight."""
        stem = self.patch_embed.projection
        spans = [rate * (size - 1) + 1 for size, rate in zip(stem.kernel_size, stem.dilation, strict=True)]
        exceeds = any(span > stride for span, stride in zip(spans, stem.stride, strict=True))
        if (exceeds or stem.padding != (0, 0)) and not self.hide_before_stem:
            raise ValueError(
                f"patch_cfg gives MTM's stem kernel_size={stem.kernel_size}, stride={stem.stride}, "
                f"padding={stem.padding}: its windows reach beyond their patches, so that visible patches would tell "
                "of hidden codes. Use a kernel as large as the stride without padding, or hide_before_stem=True"
            )
        patches = tuple(rows * stride for rows, stride in zip(self.patch_resolution, stem.stride, strict=True))
        if self.hide_before_stem and patches != tuple(self.img_size):
            raise ValueError(
                f"hide_before_stem: a stem with kernel_size={stem.kernel_size}, stride={stem.stride}, "
                f"padding={stem.padding} makes {self.patch_resolution} patches of {tuple(self.img_size)} codes, which "
                "are not one per stride; change grid_size, or the padding in patch_cfg"
            )

    @property
    def num_patches(self) -> int:
        """Patches per sample, N."""
        return self.patch_resolution[0] * self.patch_resolution[1]

    def init_weights(self) -> None:
        """Initialise as the release does: fixed positions, the stem as MAE's (like a linear layer), class token normal
        0.02, mask token 0.
        """
        super().init_weights()
        if self.pretrained_from is not None:
            return
        self.pos_embed.data.copy_(sincos_position_table(self.patch_resolution, self.embed_dims, cls_token=True))
        nn.init.xavier_uniform_(self.patch_embed.projection.weight.view(self.embed_dims, -1))
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.zeros_(self.mask_token)

    def forward(self, tokens: Tensor, masks: Masks | None = None) -> Tensor | tuple[Tensor, ...]:
        """Encode codes (B, H, W), int64, to (B, 1 + R, C): class token, then the patches at `masks.ids_keep`.

        Without masks nothing is hidden, and the result is that of `TokenViT`.
        """
        if masks is None:
            return super().forward(tokens)
        if tuple(tokens.shape[-2:]) != tuple(self.img_size):
            raise ValueError(
                f"MTM hides patches of a {self.img_size[0]} x {self.img_size[1]} grid but was given codes "
                f"{tuple(tokens.shape)}; set backbone.grid_size, or the data preprocessor's crop_size and crops"
            )
        embeddings = self.embed_tokens(tokens)
        if self.hide_before_stem:
            embeddings = embeddings.masked_fill(self._hidden_codes(masks.mask), 0)
        x, _ = self.patch_embed(embeddings)  # (B, N, C)
        x = torch.where(masks.mask[..., None], self.mask_token.to(x.dtype), x) + self.pos_embed[:, 1:]
        x = gather_patches(x, masks.ids_keep)
        cls_token = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = self.pre_norm(self.drop_after_pos(torch.cat((cls_token, x), dim=1)))
        for layer in self.layers:
            x = layer(x)
        return self.ln1(x)

    def _hidden_codes(self, mask: Tensor) -> Tensor:
        """Spread a mask of patches (B, N) over their codes: True where hidden, (B, 1, H, W)."""
        rows, columns = self.patch_embed.projection.stride
        grid = mask.view(-1, 1, *self.patch_resolution)
        return grid.repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)


@MODELS.register_module()
class MTMPretrainDecoder(BaseModule):
    """Decoder of MTM: every patch of the grid again, masked ones as the sample's own class token; learned positions.

    Args:
        num_patches: Patches per sample, N.
        decoder_embed_dims: Decoder width E; `embed_dims` is the encoder's, C.
        mlp_ratio: Hidden width of a block's MLP over E.
        drop_rate: Dropout after attention and in the MLP.
        attn_drop_rate: Dropout on the attention weights.
        with_cp: Activation checkpointing of the blocks, as in `TokenViT`.
    """

    def __init__(
        self,
        num_patches: int,
        embed_dims: int = 768,
        decoder_embed_dims: int = 512,
        num_layers: int = 4,
        num_heads: int = 16,
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.1,
        attn_drop_rate: float = 0.1,
        norm_cfg: dict | None = None,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg = norm_cfg or {"type": "LN", "eps": 1e-6}
        self.decoder_embed = nn.Linear(embed_dims, decoder_embed_dims)
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1 + num_patches, decoder_embed_dims))
        self.layers = ModuleList(  # mmengine's, which hands init_weights on
            (CheckpointedLayer if with_cp else TransformerEncoderLayer)(
                decoder_embed_dims,
                num_heads,
                int(mlp_ratio * decoder_embed_dims),
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                norm_cfg=norm_cfg,
            )
            for _ in range(num_layers)
        )
        self.norm = build_norm_layer(norm_cfg, decoder_embed_dims)

    def init_weights(self) -> None:
        super().init_weights()
        nn.init.zeros_(self.decoder_pos_embed)  # release

    def forward(self, latent: Tensor, masks: Masks) -> Tensor:
        """Decode (B, 1 + R, C), class token first, to all patches in grid order, (B, N, E)."""
        latent = self.decoder_embed(latent)
        cls_token, kept = latent[:, :1], latent[:, 1:]
        base = cls_token.expand(-1, masks.mask.shape[1], -1)
        ids = masks.ids_keep[..., None].expand_as(kept)
        patches = torch.where(masks.mask[..., None], base, base.scatter(1, ids, kept))
        x = torch.cat((cls_token, patches), dim=1) + self.decoder_pos_embed
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)[:, 1:]


@MODELS.register_module()
class MTMPretrainHead(BaseModule):
    """Scores the tokens of a patch by dot product with the token embedding table, which gets no gradient from here.

    Args:
        patch_size: Height and width of a patch in tokens.
        loss: `cross_entropy`, or `bce` for binary cross-entropy.
        label_smooth_val: Label smoothing of the cross-entropy.
    """

    def __init__(
        self,
        codebook_size: int,
        code_dim: int = 32,
        decoder_embed_dims: int = 512,
        patch_size: int = 2,
        loss: str = "cross_entropy",
        label_smooth_val: float = 0.0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if loss not in ("cross_entropy", "bce"):
            raise ValueError(f"loss must be 'cross_entropy' or 'bce', got {loss!r}")
        if loss == "bce" and label_smooth_val:
            raise ValueError(f"label smoothing ({label_smooth_val}) belongs to cross_entropy, not to bce")
        self.patch_size = patch_size
        self.loss_type = loss
        self.label_smooth_val = label_smooth_val
        self.fc = nn.Linear(decoder_embed_dims, patch_size**2 * code_dim)
        self.norm = nn.LayerNorm(code_dim)
        self.bias = nn.Parameter(torch.zeros(1, 1, codebook_size))

    def forward(self, decoded: Tensor, embedding_table: Tensor) -> Tensor:
        """Score every token of any patches (B, M, E) by the raw embedding table (K, D): logits (B, M, T, K)."""
        features = self.fc(decoded).unflatten(-1, (self.patch_size**2, -1))  # (B, M, T, D)
        return self.norm(F.gelu(features)) @ embedding_table.detach().T + self.bias

    def masked_logits(
        self, decoded: Tensor, codes: Tensor, masks: Masks, embedding_table: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, M, T, K) and true codes (B, M, T) of the masked patches alone.

        Takes all decoded patches (B, N, E), true codes (B, H, W), int64, and the token embedding's raw vectors (K, D).
        """
        targets = gather_patches(patchify_codes(codes, self.patch_size), masks.ids_mask)
        return self(gather_patches(decoded, masks.ids_mask), embedding_table), targets

    def loss(self, decoded: Tensor, codes: Tensor, masks: Masks, embedding_table: Tensor) -> dict[str, Tensor]:
        """Compute `loss`, in nats, over the masked patches; arguments as for `masked_logits`."""
        logits, targets = self.masked_logits(decoded, codes, masks, embedding_table)
        value = masked_code_loss(logits, targets, self.label_smooth_val, use_sigmoid=self.loss_type == "bce")
        return {"loss": value}


def masked_code_loss(
    logits: Tensor, targets: Tensor, label_smooth_val: float = 0.0, use_sigmoid: bool = False
) -> Tensor:
    """Compute the loss on the codes that the encoder could not see (SeiT++, eq. 1).

    Args:
        logits: Unnormalised scores of the hidden patches only, (B, M, T, K).
        targets: Their true codes, (B, M, T), int64 in [0, K).
        label_smooth_val: Weight s of the mean over all classes: (1 - s) * nll + s * mean of -log softmax.
        use_sigmoid: Binary cross-entropy against each class instead of softmax cross-entropy; no smoothing.

    Returns:
        Scalar in nats: mean over the T tokens of a patch, then over all hidden patches.
    """
    logits = logits.float()
    if use_sigmoid:
        # Mean over K of BCE against a one-hot target, without building the target: softplus(x) - x * target.
        target_logits = logits.gather(-1, targets[..., None]).squeeze(-1)
        return ((F.softplus(logits).sum(dim=-1) - target_logits) / logits.shape[-1]).mean()
    return F.cross_entropy(logits.flatten(0, 2), targets.flatten(), label_smoothing=label_smooth_val)


def patchify_codes(codes: Tensor, patch_size: int) -> Tensor:
    """Cut codes (B, H, W) into patches (B, N, T), both patches and the tokens inside one row by row."""
    batch, rows, columns = codes.shape
    p = patch_size
    if rows % p or columns % p:
        raise ValueError(f"a grid of {rows} x {columns} codes is not a whole number of {p} x {p} patches")
    return codes.view(batch, rows // p, p, columns // p, p).transpose(2, 3).reshape(batch, -1, p * p)


def unpatchify_codes(patches: Tensor, grid: tuple[int, int], patch_size: int) -> Tensor:
    """Invert `patchify_codes`: (B, N, T) to (B, H, W)."""
    rows, columns = grid
    p = patch_size
    return patches.view(-1, rows // p, columns // p, p, p).transpose(2, 3).reshape(-1, rows, columns)


def gather_patches(sequence: Tensor, ids: Tensor) -> Tensor:
    """Take patches (B, R) of a sequence (B, N, C): (B, R, C)."""
    return sequence.gather(1, ids[..., None].expand(-1, -1, sequence.shape[-1]))
