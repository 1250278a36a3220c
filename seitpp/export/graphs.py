"""What an exported file computes, as modules that `torch.export` can trace."""

import copy

import torch.nn.functional as F
from torch import Tensor, nn

from seitpp.tokenizers import PatchKMeans, Tokenizer, VQTokenizer


class TokensToLogits(nn.Module):
    """Tokens (B, h, w), or (B, h, w, C) without a codebook, int64, to logits (B, classes): crop, embed, classify.

    Args:
        model: A classifier with a `TokenDataPreprocessor`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        batch = self.model.data_preprocessor.process({"inputs": tokens}, training=False)
        return self.model(batch["inputs"], mode="tensor")


class TokensToMaps(nn.Module):
    """Tokens (B, h, w), int64, to logits (B, classes, H, W) as a segmentor scores them: enlarged once, bilinearly.

    Args:
        model: A `TokenSegmentor` that predicts a whole grid at once.
        size: Height and width of the logits; None for the head's own resolution.
    """

    def __init__(self, model: nn.Module, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        options = model.test_cfg
        if options.get("mode", "whole") != "whole" or options.get("flip"):
            raise ValueError(
                "the segmentor's test_cfg asks for sliding windows or for the mirrored image, too, and a file computes "
                "one whole image; set model.test_cfg=dict(mode='whole') in the config"
            )
        self.model, self.size = model, size

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        inputs = self.model.data_preprocessor.process({"inputs": tokens}, training=False)["inputs"]
        logits = self.model.whole_inference(inputs)
        if self.size is None:
            return logits
        return F.interpolate(logits, self.size, mode="bilinear", align_corners=self.model.align_corners)


class ImagesToLogits(nn.Module):
    """Images (B, C, H, W) in [0, 1], of the tokenizer's size, to logits and the tokens in between.

    Args:
        tokenizer: With float32 networks; its decoder is left out.
        classify: What makes logits of its tokens: `TokensToLogits` or `TokensToMaps`.
    """

    def __init__(self, tokenizer: Tokenizer, classify: nn.Module) -> None:
        super().__init__()
        self.tokenizer = _encoder_of(tokenizer)
        self.classify = classify

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and tokens int64."""
        tokens = encode_whole(self.tokenizer, in_range(self.tokenizer, images))
        return self.classify(tokens), tokens


def in_range(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    """Bring images in [0, 1] to the tokenizer's `pixel_range`."""
    low, high = tokenizer.pixel_range
    return images * (high - low) + low


def encode_whole(tokenizer: Tokenizer, images: Tensor) -> Tensor:
    """Encode any number of images (B, C, H, W) in `pixel_range`, in float32, as a graph that can be exported.

    `tokenizer.encode` scores codes in chunks, whose number, and with it the batch, would be a constant of the graph.
    """
    if tokenizer.codebook is None:
        return tokenizer.encode(images)
    if isinstance(tokenizer, VQTokenizer):
        vectors = tokenizer.embed(images)
    elif isinstance(tokenizer, PatchKMeans):
        vectors = F.pixel_unshuffle(images, tokenizer.stride)
    else:
        raise ValueError(
            f"{type(tokenizer).__name__} cannot be exported: expected ViTVQGAN, VQGAN, PatchKMeans or a tokenizer "
            "without a codebook. Export the model alone (--input tokens)"
        )
    weight, bias = _scoring(tokenizer)
    return F.linear(vectors.movedim(1, -1), weight, bias).argmax(dim=-1)


def _scoring(tokenizer: Tokenizer) -> tuple[Tensor, Tensor | None]:
    """Return the linear map whose largest output is a vector's code: weight (K, D) and bias (K,)."""
    scores = getattr(tokenizer, "code_scores", None)
    if scores is not None:  # a network's, not the codebook's
        return scores.weight.flatten(1), scores.bias
    if tokenizer.distance == "cosine":
        return F.normalize(tokenizer.codebook, dim=-1), None
    return tokenizer.codebook, tokenizer.codebook.square().sum(dim=-1) / -2


def _encoder_of(tokenizer: Tokenizer) -> Tokenizer:
    if getattr(tokenizer, "precision", "float32") != "float32":
        raise ValueError(
            f"the tokenizer computes in {tokenizer.precision} and files in float32, where some codes differ; give the "
            "config of a tokenizer with precision='float32', or export the model alone (--input tokens)"
        )
    encoder = copy.copy(tokenizer)
    encoder._modules = {name: None if name == "decoder" else part for name, part in tokenizer._modules.items()}
    # A `.pt2` holds buffers in the order of their memory.
    buffers = tokenizer._buffers.items()
    encoder._buffers = {name: None if value is None else value.contiguous() for name, value in buffers}
    return encoder
