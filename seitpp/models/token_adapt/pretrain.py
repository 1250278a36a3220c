"""Training of TokenAdapt (SeiT++, Sec. 3.3, eq. 3): tokens of an image to the tokens of its augmented self.

images x -> frozen tokenizer -> tokens T_x -> f -> map -> the drawn A -> g -> logits
images x -> the same A, in pixels -> frozen tokenizer -> tokens T_A(x), the targets

One draw acts on map and pixels: it is in coordinates of the image, not of its pixels or of the map's positions.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from seitpp.registry import MODELS, TRANSFORMS
from seitpp.structures.draws import draws_to, join_draws, take_draws, with_tensors
from seitpp.tokenizers.codebook import codebook_sha256
from seitpp.tokenizers.encoding import augmented_pixels, decoded_pixels, nearest_tokens
from seitpp.tokenizers.frozen import FrozenTokenizer
from seitpp.tokenizers.identity import check_same_tokenizer, codebook_identity

# Ways to predict the tokens of A(x); `tokenizer` are the true ones, the ceiling of scores in pixels.
PREDICTIONS = ("token_adapt", "direct", "copy", "reencode", "tokenizer")
# Validation draws for this many samples at once, so that a sample's draw depends on its index alone.
_EVAL_BLOCK = 1024


@MODELS.register_module()
class TokenAdaptPretrain(BaseModel):
    """TokenAdapt with the loss that trains it.

    Its checkpoints hold the network under `token_adapt.` and the codebook that it was trained for, which
    `seitpp.TokenAdaptAugment` reads. The tokenizer is frozen and in no checkpoint.

    Args:
        tokenizer: Config of the tokenizer whose tokens are to be augmented, a token store that it made, or the
            tokenizer itself.
        augments: Configs of the augmentations A that it learns, applied in order: geometry and mixing. Sizes are those
            of TokenAdapt's map, which has 2 x 2 positions per token.
        eval_augments: Name to augmentations, each scored on its own at validation; by default `all` of `augments`.
            Draws are the same at each validation and for every batch size; only mixing depends on the batch.
        eval_seed: Seed of these draws.
        data_preprocessor: Config; must give the tokenizer's pixels.
    """

    def __init__(
        self,
        token_adapt: dict,
        tokenizer: dict | str | nn.Module,
        augments: Sequence[dict],
        eval_augments: Mapping[str, Sequence[dict]] | None = None,
        eval_seed: int = 0,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.token_adapt = MODELS.build(token_adapt)
        self._augment_configs = [dict(cfg) for cfg in augments]
        self.augments = [TRANSFORMS.build(dict(cfg)) for cfg in augments]
        self.eval_augments = {
            name: [TRANSFORMS.build(dict(cfg)) for cfg in configs]
            for name, configs in (eval_augments or {"all": augments}).items()
        }
        self.eval_seed = eval_seed
        for name, chain in {"augments": self.augments, **self.eval_augments}.items():
            self._check_chain(name, chain)
        self._tokenizer = FrozenTokenizer(tokenizer, self._take_tokenizer)
        size, dims = self.token_adapt.codebook_size, self.token_adapt.code_dim
        # Filled when the tokenizer is read; part of the state, so that users of the weights can compare.
        self.register_buffer("codebook", None if size is None else torch.zeros(size, dims))
        if size is None:
            self.register_buffer("is_scaled", torch.zeros((), dtype=torch.bool))
        self._scaled: bool | None = None  # `is_scaled`, read from the device once after loading
        self._register_load_state_dict_pre_hook(self._before_loading)

    def init_weights(self) -> None:
        """Initialise the network, and read the tokenizer, so that a missing file is noticed before training."""
        super().init_weights()
        self.tokenizer()
        # Weights that a config loads or initialises otherwise stay as they are.
        if self.codebook is not None and self.init_cfg is None and self.token_adapt.init_cfg is None:
            self._scale_embedding()

    @torch.no_grad()
    def _scale_embedding(self) -> None:
        """Let the embedded codes start with deviation 1, whatever the codebook's scale is.

        Rows of length one, as ViT-VQGAN's are, would start at a quarter of the positions that are added to them, and
        training, which first has to find the codes beneath, would take about twice as long.
        """
        weight = self.token_adapt.conversion.embed.weight
        deviation = (self.codebook @ weight.T).std()
        if deviation > 0:
            weight.div_(deviation)

    def tokenizer(self) -> Any:
        """Return the frozen tokenizer on the model's device; `ValueError` if it does not fit `token_adapt`."""
        device = next(self.token_adapt.parameters()).device
        return self._tokenizer.on("cpu" if device.type == "meta" else device)

    @property
    def codebook_sha256(self) -> str | None:
        return None if self.codebook is None else codebook_sha256(self.codebook)

    def pair_metadata(self) -> dict[str, Any]:
        """Return what decides which pairs the model makes, as JSON has it; stored pairs are kept with it."""
        tokenizer = self.tokenizer()
        description = tokenizer.describe()
        description.pop("checkpoint", None)  # the file may move, its hash may not change
        return _plain(
            {
                "grid": self.token_adapt.grid,
                "out_grid": self.token_adapt.out_grid,
                "channels": tokenizer.channels,
                "codebook_size": tokenizer.codebook_size,
                "codebook_sha256": self.codebook_sha256,
                "augments": self._augment_configs,
                "tokenizer": description,
            }
        )

    def prepare_training(self, metainfo: Mapping[str, Any], where: str) -> None:
        """Raise `ValueError`, before the first step, if stored pairs are of another tokenizer or other augmentations.

        `metainfo` is the training data set's (that of images says nothing of pairs), `where` its name.
        """
        own, what = self.pair_metadata(), f"the pairs in {where}"
        advice = "Train with the config that made them, or make them anew with this one (tools/make_token_pairs.py)"
        if "codebook_sha256" in metainfo:
            check_same_tokenizer(_pair_identity(metainfo), what, _pair_identity(own), "the model", advice)
        for key in ("grid", "out_grid", "augments"):
            if key in metainfo and _plain(metainfo[key]) != own[key]:
                made = _plain(metainfo[key])
                raise ValueError(f"{what} were made with {key} {made}, the model has {own[key]}. {advice}")

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = "tensor",
        targets: Tensor | None = None,
        draws: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor] | list[DataSample] | Tensor:
        """Run one of mmengine's modes.

        Args:
            inputs: Images (B, C, H, W) in the tokenizer's pixel range; in `loss` with `targets`, tokens of images.
            data_samples: One per sample, with its `sample_idx`.
            mode: `loss`: named terms; `predict`: data samples with what `TokenAdaptMetric` reads; `tensor`: predicted
                tokens of images under newly drawn augmentations.
            targets: Tokens of the augmented images, of stored pairs (`seitpp.TokenPairDataset`).
            draws: What was drawn for stored pairs, tensors by name for each augmentation.
        """
        if mode == "loss":
            return self.loss(inputs) if targets is None else self.loss_of_stored_pairs(inputs, targets, draws)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            drawn = self.draw(len(inputs), inputs.device)
            return self._predicted(self.tokenizer().encode(inputs), self.augments, drawn)
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        draws = self.draw(len(images), images.device)
        tokens, targets = self.pairs(images, draws)
        return self.pair_loss(tokens, targets, draws)

    def loss_of_stored_pairs(
        self, tokens: Tensor, targets: Tensor, draws: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        if len(draws) != len(self.augments):
            raise ValueError(
                f"the pairs were made by {len(draws)} augmentations, the model has {len(self.augments)}; train with "
                "the config that made them"
            )
        self.tokenizer()  # reads the codebook
        templates = self.draw(1, "cpu")
        return self.pair_loss(tokens, targets, [with_tensors(*pair) for pair in zip(templates, draws, strict=True)])

    def draw(self, batch_size: int, device: torch.device | str) -> list[Any]:
        return self._draw(self.augments, batch_size, device)

    def _draw(
        self, chain: Sequence[Any], size: int, device: torch.device | str, generator: torch.Generator | None = None
    ) -> list[Any]:
        grid, draws = self.token_adapt.map_grid, []
        for augment in chain:
            draws.append(augment.sample(size, grid, device=device, generator=generator))
            grid = augment.out_grid(grid)
        return draws

    @torch.no_grad()
    def pairs(self, images: Tensor, draws: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Encode images (B, C, H, W) and the same images augmented: (B, H, W), (B, h, w) [, channels]."""
        tokenizer = self.tokenizer()
        return tokenizer.encode(images), tokenizer.encode(self.augmented(images, self.augments, draws))

    def pair_loss(self, tokens: Tensor, targets: Tensor, draws: Sequence[Any]) -> dict[str, Tensor]:
        """Compute the loss of predicting the tokens of A(x), (B, h, w) [, channels], from those of x, (B, H, W) [...].

        `loss` is the mean cross-entropy in nats per token (eq. 3), or for tokens without a codebook the mean squared
        error in units of each channel's variance; `code_accuracy` is the share that is predicted exactly.
        """
        if self.codebook is None:
            self._fit_scale(tokens)
        scores = self.token_adapt.reverse(self._maps(tokens, self.augments, draws)).float()
        if self.codebook is None:
            loss = ((scores - targets) / self.token_adapt.std).square().mean()
        else:
            loss = F.cross_entropy(scores.flatten(0, 2), targets.flatten().long())
        return {"loss": loss, "code_accuracy": (self._tokens(scores.detach()) == targets).float().mean()}

    def _fit_scale(self, tokens: Tensor) -> None:
        """Set mean and deviation of each channel from the first batch of all processes."""
        if self._scaled is None:
            self._scaled = bool(self.is_scaled)
        if self._scaled:
            return
        values = tokens.flatten(0, -2).float()
        moments = torch.stack((values.mean(dim=0), values.square().mean(dim=0)))
        all_reduce(moments, op="mean")
        self.token_adapt.mean.copy_(moments[0])
        # A channel that is nearly always 0 has one quantisation step as its unit.
        self.token_adapt.std.copy_((moments[1] - moments[0].square()).clamp(min=0).sqrt().clamp(min=1.0))
        self.is_scaled.fill_(True)
        self._scaled = True

    @torch.no_grad()
    def predict(self, images: Tensor, data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Score predictions: data samples with `token_adapt_scores` (augmentations, predictions, 2).

        The scores are the share of exact tokens and the squared error of the decoded prediction to the augmented
        image, pixels scaled to [0, 1]. Predictions are those of `PREDICTIONS`: `direct` is the nearest code to the
        augmented embeddings, `copy` the middle of the input's tokens, `reencode` what TokenAdapt replaces: the tokens
        decoded, augmented as pixels and encoded again. NaN stands for what a tokenizer without a decoder cannot give,
        and for both scores of `token_adapt` where its features are NaN.
        """
        tokenizer = self.tokenizer()
        data_samples = data_samples or [DataSample(metainfo={"sample_idx": index}) for index in range(len(images))]
        indices = torch.tensor([sample.sample_idx for sample in data_samples])
        tokens, scores = tokenizer.encode(images), []
        decoded = decoded_pixels(tokenizer, tokens) if tokenizer.can_decode else None
        for chain in self.eval_augments.values():
            draws = self.eval_draws(chain, indices, images.device)
            augmented = self.augmented(images, chain, draws)
            true = tokenizer.encode(augmented)
            predicted = {
                "token_adapt": self._predicted(tokens, chain, draws),
                "direct": nearest_tokens(tokenizer, _applied(self._embedded(tokens), chain, draws), self.codebook),
                "copy": _middle(tokens, self.token_adapt.out_grid),
                "reencode": None if decoded is None else tokenizer.encode(self.augmented(decoded, chain, draws)),
                "tokenizer": true,
            }
            rows = [self._score(predicted[kind], true, augmented) for kind in PREDICTIONS]
            # The most likely code does not tell NaN from numbers.
            features = self.token_adapt.reversal.features(self._maps(tokens, chain, draws))
            rows[0] = rows[0].where(features.flatten(1).isfinite().all(dim=1)[:, None], torch.nan)
            scores.append(torch.stack(rows, dim=1))
        for sample, row in zip(data_samples, torch.stack(scores, dim=1).cpu(), strict=True):
            sample.set_metainfo({"token_adapt_names": tuple(self.eval_augments)})
            sample.set_field(row, "token_adapt_scores")
        return data_samples

    def _score(self, tokens: Tensor | None, true: Tensor, images: Tensor) -> Tensor:
        """Return share of exact tokens and squared pixel error of each sample, (B, 2); NaN without a prediction."""
        if tokens is None:
            return images.new_full((len(images), 2), torch.nan)
        exact = (tokens == true).flatten(1).float().mean(dim=1)
        tokenizer = self.tokenizer()
        if not tokenizer.can_decode:
            return torch.stack((exact, torch.full_like(exact, torch.nan)), dim=1)
        low, high = tokenizer.pixel_range
        error = ((decoded_pixels(tokenizer, tokens) - images) / (high - low)).square().flatten(1).mean(dim=1)
        return torch.stack((exact, error), dim=1)

    def eval_draws(self, chain: Sequence[Any], indices: Tensor, device: torch.device) -> list[Any]:
        """Draw for samples by their indices in the data set, (B,), whoever else is in the batch."""
        blocks, block_of = (indices // _EVAL_BLOCK).unique(return_inverse=True)
        generators = [torch.Generator().manual_seed(self.eval_seed + block) for block in blocks.tolist()]
        drawn = [self._draw(chain, _EVAL_BLOCK, "cpu", generator) for generator in generators]
        rows = block_of * _EVAL_BLOCK + indices % _EVAL_BLOCK
        return [draws_to(take_draws(join_draws(parts), rows), device) for parts in zip(*drawn, strict=True)]

    def _predicted(self, tokens: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        maps = self._maps(tokens, chain, draws)
        if self.codebook is None:
            return self._tokens(self.token_adapt.reverse(maps))
        return self.token_adapt.reverse_codes(maps)

    def _maps(self, tokens: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        maps = self.token_adapt.convert(self._embedded(tokens))
        return _applied(maps.float(), chain, draws)  # interpolation stays in float32 under autocast

    def _embedded(self, tokens: Tensor) -> Tensor:
        if self.codebook is None:
            return tokens.movedim(-1, 1).float()
        return F.embedding(tokens.long(), self.codebook).movedim(-1, 1)

    def _tokens(self, scores: Tensor) -> Tensor:
        """Return the tokens of logits (B, h, w, K) or values (B, h, w, D)."""
        if self.codebook is not None:
            return scores.argmax(dim=-1)
        return nearest_tokens(self.tokenizer(), scores.movedim(-1, 1))

    def augmented(self, images: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        """Apply drawn augmentations to images (B, C, H, W) as pixels."""
        return augmented_pixels(self.tokenizer(), images, lambda pixels: _applied(pixels, chain, draws))

    def _check_chain(self, name: str, chain: Sequence[Any]) -> None:
        grid, needed = tuple(self.token_adapt.map_grid), tuple(self.token_adapt.out_map_grid)
        for augment in chain:
            if not hasattr(augment, "out_grid"):
                raise ValueError(
                    f"{name} have a {type(augment).__name__}, which draws nothing that pixels and map could share; "
                    "use geometry and mixing alone, such as seitpp.BatchRandomFlip or seitpp.BatchMixup"
                )
            grid = tuple(augment.out_grid(grid))
        if grid != needed:
            raise ValueError(
                f"{name} take TokenAdapt's map of {self.token_adapt.map_grid} positions to {grid}, and its out_grid "
                f"{self.token_adapt.out_grid} needs {needed}; let them end with a crop of that size, such as "
                f"seitpp.BatchRandomResizedCrop or seitpp.BatchCenterCrop with size={needed}"
            )

    def _take_tokenizer(self, tokenizer: Any) -> None:
        """Check that the tokenizer fits the network, and copy its codebook."""
        network, kind = self.token_adapt, type(tokenizer).__name__
        if not tokenizer.spatial:
            raise ValueError(
                f"{kind} has no spatial grid: its tokens have no position in the image, so that no geometric "
                "augmentation can act on them; TokenAdapt needs a tokenizer with one"
            )
        size, dims = (None, tokenizer.channels) if tokenizer.codebook is None else tokenizer.codebook.shape
        found = {"grid": tuple(tokenizer.grid), "codebook_size": size, "code_dim": dims}
        if found != (own := {name: getattr(network, name) for name in found}):
            raise ValueError(f"{kind} has {found}, token_adapt has {own}; set it to the tokenizer's sizes")
        if tokenizer.codebook is not None and self.codebook.device.type != "meta":
            self.codebook.copy_(tokenizer.codebook.detach())

    def _before_loading(self, state_dict: dict, prefix: str, *_args: Any) -> None:
        """Refuse, as a loading hook, weights that belong to another codebook."""
        self._scaled = None
        loaded = state_dict.get(prefix + "codebook")
        if loaded is not None and self.codebook is not None:
            self.tokenizer()
            own = codebook_identity(self.codebook)
            check_same_tokenizer(codebook_identity(loaded), "the checkpoint", own, "the config's tokenizer")


def _applied(maps: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
    for augment, drawn in zip(chain, draws, strict=True):
        maps = augment.apply(maps, drawn)
    return maps


def _middle(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Cut the middle (B, h, w) [, channels] out of tokens (B, H, W) [, channels]."""
    top, left = ((side - kept) // 2 for side, kept in zip(tokens.shape[1:3], grid, strict=True))
    return tokens[:, top : top + grid[0], left : left + grid[1]]


def _pair_identity(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hash of the codebook, which identifies its tokenizer, or the options of one without a codebook."""
    sha256 = metadata["codebook_sha256"]
    return {"codebook_sha256": sha256, **(metadata["tokenizer"] if sha256 is None else {})}


def _plain(value: Any) -> Any:
    """Return dicts, lists, numbers and text as JSON keeps them."""
    return json.loads(json.dumps(value))
