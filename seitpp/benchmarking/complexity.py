"""Parameters and multiply-adds of what a config builds, with tokens as input; no data, no weights, no memory for them.

Networks are built on torch's meta device, and torch's own counter adds up every matrix product and convolution that
runs there, attention included (mmengine's leaves `scaled_dot_product_attention` out). As everywhere in OpenMMLab, one
multiply-add is one FLOP. Look-ups, norms, activations and additions are not counted: 0.1 % of a ViT-B.

Legend: B samples, H x W tokens, D values per token.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mmengine.analysis import parameter_count
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from seitpp.engine.model_kind import ModelKind, check_kind, model_kind
from seitpp.models import KNNHead, TokenViT
from seitpp.registry import MODELS, TOKENIZERS
from seitpp.structures.grid_record import by
from seitpp.tokenizers.vq_tokenizer import VQTokenizer

_KINDS = (
    *(ModelKind.CLASSIFIER, ModelKind.SEGMENTOR, ModelKind.MTM, ModelKind.TOKEN_ADAPT),
    *(ModelKind.TOKENIZER, ModelKind.TOKENIZER_TRAINING),
)
# Options of a tokenizer that name files or are fitted to data.
_OF_FILES = ("checkpoint", "code_subset", "codebook", "fit")
_TYPICAL_QUANTILE = 0.5  # of MTM's mask ratio


@dataclass(frozen=True)
class Complexity:
    """What one network costs.

    Attributes:
        name: What it does.
        input: What it was given, in words.
        parameters: Its weights and other parameters; None where the row is part of another one.
        multiply_adds: For the whole batch.
        parts: Multiply-adds of its parts, by module name, for the depth that was asked for.
    """

    name: str
    input: str
    parameters: int | None
    multiply_adds: int
    parts: dict[str, int]


def complexities(
    config: Config, shape: Sequence[int] | None = None, batch_size: int = 1, depth: int = 1
) -> list[Complexity]:
    """Count what a config builds, part by part.

    Args:
        config: Of a classifier, segmentor, MTM, TokenAdapt or tokenizer, or of the training of a tokenizer.
        shape: Rows and columns of tokens (of pixels for tokenizers) in place of the config's.
        batch_size: Samples, B.
        depth: Levels of modules in `parts`.

    Raises:
        ValueError: The config is of another kind, or the shape does not suit it.
    """
    kind = check_kind(config, *_KINDS)
    with DefaultScope.overwrite_default_scope(config.get("default_scope") or "mmpretrain"), torch.device("meta"):
        return _COUNTERS[kind](config, shape, batch_size, depth)


def _count(
    name: str, given: str, module: nn.Module, run: Callable[[], object], depth: int, parameters: bool = True
) -> Complexity:
    """Run a network once, without gradient, and count."""
    module.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    counts = {part: sum(by_operator.values()) // 2 for part, by_operator in counter.get_flop_counts().items()}
    total = counts.get("Global", 0)
    prefix = f"{type(module).__name__}."
    inner = {part.removeprefix(prefix): count for part, count in counts.items() if part.startswith(prefix)}
    parts = {part: inner[part] for part, _ in module.named_modules() if part in inner and part.count(".") < depth}
    return Complexity(name, given, parameter_count(module)[""] if parameters else None, total, parts)


def _model(config: Config, changes: dict) -> nn.Module:
    """Build a model of tokens without its data preprocessor, which reads files; `changes` are of its backbone."""
    model: ConfigDict = copy.deepcopy(config.model)
    kind = MODELS.get(model.backbone.type) if "backbone" in model else None
    if kind is None or not issubclass(kind, TokenViT):
        raise ValueError(
            f"{config.filename}: the backbone {model.get('backbone', {}).get('type')} takes no tokens (seitpp.TokenViT "
            "does); mmpretrain's own get_flops.py counts networks on images"
        )
    model.backbone.update(changes)
    model.pop("data_preprocessor", None)
    return MODELS.build({**model, "data_preprocessor": BaseDataPreprocessor()})


def _grid_change(shape: Sequence[int] | None) -> dict:
    return {} if shape is None else {"grid_size": tuple(shape)}


def _tokens(backbone: nn.Module, batch_size: int) -> tuple[Tensor, str]:
    """Return an input for a backbone of tokens, and what it is in words."""
    height, width = backbone.img_size
    if backbone.token_embed is None:
        given = torch.zeros(batch_size, backbone.code_dim, height, width)
        return given, f"{height} x {width} embeddings of {backbone.code_dim}"
    return torch.zeros(batch_size, height, width, dtype=torch.int64), f"{height} x {width} codes"


def _classifier(config: Config, shape: Sequence[int] | None, batch_size: int, depth: int) -> list[Complexity]:
    model = _model(config, _grid_change(shape))
    tokens, given = _tokens(model.backbone, batch_size)
    if isinstance(model.head, KNNHead):
        return [_count("encoder", given, model.backbone, lambda: model.backbone(tokens), depth)]
    return [_count("classifier", given, model, lambda: model(tokens), depth)]


def _segmentor(config: Config, shape: Sequence[int] | None, batch_size: int, depth: int) -> list[Complexity]:
    model = _model(config, _grid_change(shape))
    tokens, given = _tokens(model.backbone, batch_size)
    backbone, neck, head = model.backbone, model.neck if model.with_neck else nn.Identity(), model.decode_head
    features = backbone(tokens)
    enlarged = neck(features)
    return [
        _count("encoder", given, backbone, lambda: backbone(tokens), depth),
        _count("neck", f"{len(features)} maps", neck, lambda: neck(features), depth),
        _count("decode head", f"{len(enlarged)} maps", head, lambda: head(enlarged), depth),
    ]


def _mtm(config: Config, shape: Sequence[int] | None, batch_size: int, depth: int) -> list[Complexity]:
    model = _model(config, _grid_change(shape))
    tokens, given = _tokens(model.backbone, batch_size)
    patches = model.backbone.num_patches
    with torch.device("cpu"):
        ratio = model.mask_ratio.from_uniform(_TYPICAL_QUANTILE)
    masks = model.make_masks(torch.zeros(batch_size, patches), ratio)
    kept, masked = masks.ids_keep.shape[1], masks.ids_mask.shape[1]
    latent = torch.zeros(batch_size, 1 + kept, model.backbone.embed_dims)
    decoded = torch.zeros(batch_size, patches, model.neck.decoder_embed.out_features)
    encoder, decoder, head = model.backbone, model.neck, model.head
    hidden = f"{given}, {kept} of {patches} patches"
    return [
        _count("encoder in pre-training", hidden, encoder, lambda: encoder(tokens, masks), depth),
        _count("decoder", f"{patches} patches", decoder, lambda: decoder(latent, masks), depth),
        _count(
            "head",
            f"{masked} masked patches",
            head,
            lambda: head.masked_logits(decoded, tokens, masks, model.embedding_table),
            depth,
        ),
        _count("encoder of features", given, encoder, lambda: encoder(tokens), depth, parameters=False),
    ]


def _token_adapt(config: Config, shape: Sequence[int] | None, batch_size: int, depth: int) -> list[Complexity]:
    options = copy.deepcopy(config.model.token_adapt)
    if shape is not None:
        before = options.get("grid", 32), options.get("out_grid", 28)
        old, kept = ((side, side) if isinstance(side, int) else tuple(side) for side in before)
        options.grid = tuple(shape)
        options.out_grid = tuple(
            side * new // side_before for side, new, side_before in zip(kept, shape, old, strict=True)
        )
    network = MODELS.build(options)
    embeddings = torch.zeros(batch_size, network.code_dim, *network.grid)
    maps = torch.zeros(batch_size, network.map_dims, *network.out_map_grid)
    return [
        _count(
            "conversion f",
            f"{by(network.grid)} embeddings of {network.code_dim}",
            network.conversion,
            lambda: network.convert(embeddings),
            depth,
        ),
        _count(
            "reversal g",
            f"{by(network.out_map_grid)} positions of {network.map_dims}",
            network.reversal,
            lambda: network.reverse(maps),
            depth,
        ),
    ]


def _tokenizer(config: Config, shape: Sequence[int] | None, batch_size: int, depth: int) -> list[Complexity]:
    options = config.model.tokenizer if model_kind(config) is ModelKind.TOKENIZER_TRAINING else config.tokenizer
    kind = TOKENIZERS.get(options.type)
    if kind is None or not issubclass(kind, VQTokenizer):
        raise ValueError(
            f"{config.filename}: a {options.type} has no networks to count; tools/analysis_tools/benchmark_tokenize.py "
            "measures what it takes"
        )
    changes = {} if shape is None else {"image_size": tuple(shape)}
    plain = {key: value for key, value in options.items() if key not in _OF_FILES}
    tokenizer = TOKENIZERS.build({**plain, **changes})
    images = torch.zeros(batch_size, tokenizer.in_channels, *tokenizer.image_size)
    vectors = torch.zeros(batch_size, tokenizer.codebook.shape[1], *tokenizer.grid)
    encoder, decoder, codebook = tokenizer.encoder, tokenizer.decoder, tokenizer.codebook
    compared = batch_size * math.prod(tokenizer.grid) * codebook.numel()
    return [
        _count("encoder", f"{by(tokenizer.image_size)} pixels", encoder, lambda: tokenizer.embed(images), depth),
        Complexity("nearest codes", f"{by(codebook.shape)} codebook", codebook.numel(), compared, {}),
        _count("decoder", f"{by(tokenizer.grid)} codes", decoder, lambda: tokenizer.reconstruct(vectors), depth),
    ]


_COUNTERS: dict[ModelKind, Callable[..., list[Complexity]]] = {
    ModelKind.CLASSIFIER: _classifier,
    ModelKind.SEGMENTOR: _segmentor,
    ModelKind.MTM: _mtm,
    ModelKind.TOKEN_ADAPT: _token_adapt,
    ModelKind.TOKENIZER: _tokenizer,
    ModelKind.TOKENIZER_TRAINING: _tokenizer,
}
