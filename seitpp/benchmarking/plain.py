"""Training as a straightforward implementation does it, for the benchmarks to compare with.

Attention as two products around a softmax, patches dropped and put back by boolean masks (each waits for the device to
count them), scores and losses at every position with the visible ones multiplied by 0. Same weights, same loss.
"""

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn

from seitpp.engine.config_checks import name_and_scope
from seitpp.models.mtm.masking import Masks
from seitpp.models.mtm.mtm import MTM, patchify_codes


def explicit_attention(query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0) -> Tensor:
    """Softmax(Q K^T / sqrt(d)) V for (B, heads, N, d), with the weights (B, heads, N, N) in memory."""
    weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    return F.dropout(weights, dropout_p) @ value


class PlainMTM(MTM):
    """`MTM` with the same weights and loss, by boolean masks and with logits of all positions."""

    def loss_on_masks(self, codes: Tensor, masks: Masks) -> dict[str, Tensor]:
        """Return the loss of codes (B, H, W) on given masks."""
        kept = torch.zeros_like(masks.mask).scatter_(1, masks.ids_keep, True)
        logits = self.head(self._decode(self._encode(codes, masks.mask, kept), masks.mask, kept), self.embedding_table)
        targets = patchify_codes(codes, self.head.patch_size)
        losses = F.cross_entropy(logits.float().flatten(0, 2), targets.flatten(), reduction="none").view_as(targets)
        return {"loss": (losses.mean(dim=-1) * masks.mask).sum() / masks.mask.sum()}

    def _encode(self, codes: Tensor, mask: Tensor, kept: Tensor) -> Tensor:
        """Return the latent sequence (B, 1 + R, C)."""
        encoder = self.backbone
        x, _ = encoder.patch_embed(encoder.embed_tokens(codes))
        x[mask] = encoder.mask_token[0, 0].to(x.dtype)
        x = x + encoder.pos_embed[:, 1:]
        x = x[kept].view(len(x), -1, x.shape[-1])
        cls_token = (encoder.cls_token + encoder.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = encoder.pre_norm(encoder.drop_after_pos(torch.cat((cls_token, x), dim=1)))
        for layer in encoder.layers:
            x = layer(x)
        return encoder.ln1(x)

    def _decode(self, latent: Tensor, mask: Tensor, kept: Tensor) -> Tensor:
        """Return all positions (B, N, E)."""
        decoder = self.neck
        latent = decoder.decoder_embed(latent)
        patches = latent[:, :1].repeat(1, mask.shape[1], 1)
        visible = kept & ~mask
        patches[visible] = latent[:, 1:][visible[kept].view(len(latent), -1)]
        x = torch.cat((latent[:, :1], patches), dim=1) + decoder.decoder_pos_embed
        for layer in decoder.layers:
            x = layer(x)
        return decoder.norm(x)[:, 1:]


def use_plain_loss(config: Config) -> None:
    """Let a config of MTM build the plain one; other models differ by their attention alone."""
    if name_and_scope(config.model)[0] == "MTM":
        config.model.type = PlainMTM


def use_explicit_attention(model: nn.Module) -> None:
    """Replace `scaled_dot_product_attention` in every block of mmpretrain's transformers."""
    for module in model.modules():
        if hasattr(module, "scaled_dot_product_attention"):
            module.scaled_dot_product_attention = explicit_attention
