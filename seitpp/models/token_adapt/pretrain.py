"""Training of TokenAdapt (SeiT++, Sec. 3.3, eq. 3): tokens of an image to the tokens of its augmented self.

images x -> frozen tokenizer -> tokens T_x -> f -> map -> the drawn A -> g -> logits
images x -> the same A, in pixels -> frozen tokenizer -> tokens T_A(x), the targets

The same draw acts on map and pixels: draws are in coordinates of the image and not of its pixels or places.
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
from seitpp.tokenizers.codebook import NEAREST_CODES, codebook_sha256
from seitpp.tokenizers.encoding import augmented_pixels, decoded_pixels
from seitpp.tokenizers.frozen import FrozenTokenizer
from seitpp.tokenizers.identity import check_same_tokenizer, codebook_identity

# How each prediction of the tokens of A(x) is made; `tokenizer` are the true ones, the ceiling of scores in pixels.
PREDICTIONS = ("token_adapt", "direct", "copy", "reencode", "tokenizer")
# Validation draws so many samples at once, so that a sample's draw depends on its place alone.
_EVAL_BLOCK = 1024


@MODELS.register_module()
class TokenAdaptPretrain(BaseModel):
    """TokenAdapt with the loss that trains it.

    Its checkpoints hold the network under `token_adapt.` and the codebook that it was trained for;
    `seitpp.TokenAdaptAugment` reads them. The tokenizer is frozen and in no checkpoint.

    Args:
        token_adapt: Config of `seitpp.TokenAdapt`.
        tokenizer: Config of the tokenizer whose tokens are to be augmented, or the tokenizer.
        augments: Configs of the augmentations A that it learns, applied in order: geometry and mixing. Sizes are those
            of TokenAdapt's map, two places a token.
        eval_augments: Name to augmentations, each scored on its own at validation; by default `all` of `augments`.
        eval_seed: Of the draws at validation, which are the same each time and for every batch size. Mixing alone
            depends on the batch: partners are found in it.
        data_preprocessor: Config; must give the tokenizer's pixels.
        init_cfg: mmengine's.
    """

    def __init__(
        self,
        token_adapt: dict,
        tokenizer: dict | nn.Module,
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
        self._eval_draws: dict[str, list[list[Any]]] = {name: [] for name in self.eval_augments}
        for name, chain in {"augments": self.augments, **self.eval_augments}.items():
            self._check_chain(name, chain)
        self._tokenizer = FrozenTokenizer(tokenizer, self._take_tokenizer)
        size, dims = self.token_adapt.codebook_size, self.token_adapt.code_dim
        # Filled when the tokenizer is read; in the state, so that whoever uses the weights can compare.
        self.register_buffer("codebook", None if size is None else torch.zeros(size, dims))
        if size is None:
            self.register_buffer("is_scaled", torch.zeros((), dtype=torch.bool))
        self._scaled: bool | None = None
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
        training would first have to find the codes beneath: it then takes about twice as long.
        """
        weight = self.token_adapt.conversion.embed.weight
        deviation = (self.codebook @ weight.T).std()
        if deviation > 0:
            weight.div_(deviation)

    def tokenizer(self) -> Any:
        """The frozen tokenizer on the model's device; checked against TokenAdapt at its first use.

        Raises:
            ValueError: It has no spatial grid, or another grid, codebook or number of channels than `token_adapt`.
        """
        device = next(self.token_adapt.parameters()).device
        return self._tokenizer.on("cpu" if device.type == "meta" else device)

    @property
    def codebook_sha256(self) -> str | None:
        """Identity of the codebook, as stores record it."""
        return None if self.codebook is None else codebook_sha256(self.codebook)

    def pair_facts(self) -> dict[str, Any]:
        """What decides which pairs the model makes, as plain facts; stored pairs are kept with them."""
        tokenizer = self.tokenizer()
        facts = tokenizer.describe()
        facts.pop("checkpoint", None)  # its place may change, its hash may not
        facts = {
            "grid": self.token_adapt.grid,
            "out_grid": self.token_adapt.out_grid,
            "channels": tokenizer.channels,
            "codebook_size": tokenizer.codebook_size,
            "codebook_sha256": self.codebook_sha256,
            "augments": self._augment_configs,
            "tokenizer": facts,
        }
        return _plain(facts)

    def prepare_training(self, facts: Mapping[str, Any], where: str) -> None:
        """Refuse stored pairs of other augmentations or of another tokenizer, before the first step.

        Args:
            facts: What the training data set tells of itself, its `metainfo`; images tell nothing of this.
            where: Its name, for messages.

        Raises:
            ValueError: The pairs are others than this model makes.
        """
        own = self.pair_facts()
        # A codebook identifies its tokenizer; without one the tokenizer's options do.
        identity = ["tokenizer"] if own["codebook_sha256"] is None else []
        for key in ("codebook_sha256", "grid", "out_grid", "augments", *identity):
            if key in facts and _plain(facts[key]) != own[key]:
                raise ValueError(
                    f"the pairs in {where} were made with {key} {_plain(facts[key])}, the model has {own[key]}; train "
                    "with the config that made them, or make them anew with this one (tools/make_token_pairs.py)"
                )

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = "tensor",
        targets: Tensor | None = None,
        draws: Sequence[Mapping[str, Tensor]] | None = None,
    ) -> dict[str, Tensor] | list[DataSample] | Tensor:
        """mmengine's three modes.

        Args:
            inputs: Images (B, C, H, W) in the tokenizer's pixel range; in `loss` with `targets`, tokens of images.
            data_samples: One a sample, with its `sample_idx`.
            mode: `loss`: named terms; `predict`: data samples with what `TokenAdaptMetric` reads; `tensor`: predicted
                tokens of images under newly drawn augmentations.
            targets: Tokens of the augmented images, where pairs were prepared before (`seitpp.TokenPairDataset`).
            draws: What had been drawn for them, tensors by name for each augmentation.
        """
        if mode == "loss":
            return self.loss(inputs) if targets is None else self.loss_of_stored_pairs(inputs, targets, draws)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "tensor":
            drawn = self.draw(len(inputs), inputs.device)
            return self._predicted(self.tokenizer().encode(inputs), self.augments, drawn)
        raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")

    def draw(self, batch_size: int, device: torch.device | str) -> list[Any]:
        """New draws of each augmentation."""
        return self._draw(self.augments, batch_size, device)

    @torch.no_grad()
    def pairs(self, images: Tensor, draws: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Tokens of images (B, C, H, W) and of the same images augmented: (B, H, W), (B, h, w) [, channels]."""
        tokenizer = self.tokenizer()
        return tokenizer.encode(images), tokenizer.encode(self._augmented(images, self.augments, draws))

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Terms of the loss of images (B, C, H, W), with pairs made on the fly."""
        draws = self.draw(len(images), images.device)
        return self.pair_loss(*self.pairs(images, draws), draws)

    def loss_of_stored_pairs(
        self, tokens: Tensor, targets: Tensor, draws: Sequence[Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The same of pairs that were made before, by these augmentations."""
        if len(draws) != len(self.augments):
            raise ValueError(
                f"the pairs were made by {len(draws)} augmentations, the model has {len(self.augments)}; train with "
                "the config that made them"
            )
        self.tokenizer()  # reads the codebook
        templates = self.draw(1, "cpu")
        return self.pair_loss(tokens, targets, [with_tensors(*pair) for pair in zip(templates, draws, strict=True)])

    def pair_loss(self, tokens: Tensor, targets: Tensor, draws: Sequence[Any]) -> dict[str, Tensor]:
        """Loss of predicting the tokens of A(x) from those of x.

        Args:
            tokens: Those of the images, (B, H, W) [, channels].
            targets: Those of the augmented images, (B, h, w) [, channels].
            draws: Of each augmentation.

        Returns:
            `loss`: mean cross-entropy in nats a token (eq. 3), or for tokens without a codebook the mean squared
            error in units of each channel's variance; and `code_accuracy`, the share that is predicted exactly.
        """
        if self.codebook is None:
            self._fit_scale(tokens)
        scores = self._scores(tokens, self.augments, draws).float()
        if self.codebook is None:
            loss = ((scores - targets) / self.token_adapt.std).square().mean()
        else:
            loss = F.cross_entropy(scores.flatten(0, 2), targets.flatten().long())
        return {"loss": loss, "code_accuracy": (self._tokens(scores.detach()) == targets).float().mean()}

    @torch.no_grad()
    def predict(self, images: Tensor, data_samples: list[DataSample] | None = None) -> list[DataSample]:
        """Data samples with `token_adapt_scores` (augmentations, predictions, 2): exact tokens, squared pixel error.

        Predictions are those of `PREDICTIONS`; `direct` is the augmentation applied to the tokens' embeddings and
        the nearest code, `copy` the middle of the input's tokens, `reencode` the way that TokenAdapt replaces: the
        tokens decoded, augmented as pixels and encoded again. The error is that of the decoded prediction to the
        augmented image, pixels scaled to [0, 1]. What a tokenizer that cannot decode has no part in is NaN, and
        so are both scores of `token_adapt` where its features are.
        """
        tokenizer = self.tokenizer()
        data_samples = data_samples or [DataSample(metainfo={"sample_idx": place}) for place in range(len(images))]
        places = torch.tensor([sample.sample_idx for sample in data_samples])
        tokens, scores = tokenizer.encode(images), []
        decoded = decoded_pixels(tokenizer, tokens) if tokenizer.can_decode else None
        for name, chain in self.eval_augments.items():
            draws = self._eval_draws_of(name, places, images.device)
            augmented = self._augmented(images, chain, draws)
            true = tokenizer.encode(augmented)
            predicted = {
                "token_adapt": self._predicted(tokens, chain, draws),
                "direct": self._nearest(self._applied(self._embedded(tokens), chain, draws)),
                "copy": _middle(tokens, self.token_adapt.out_grid),
                "reencode": None if decoded is None else tokenizer.encode(self._augmented(decoded, chain, draws)),
                "tokenizer": true,
            }
            rows = [self._score(predicted[kind], true, augmented) for kind in PREDICTIONS]
            rows[0] = rows[0].where(self._is_finite(tokens, chain, draws)[:, None], torch.nan)
            scores.append(torch.stack(rows, dim=1))
        facts = {"token_adapt_names": tuple(self.eval_augments)}
        for sample, row in zip(data_samples, torch.stack(scores, dim=1).cpu(), strict=True):
            sample.set_metainfo(facts)
            sample.set_field(row, "token_adapt_scores")
        return data_samples

    def _is_finite(self, tokens: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        """Whether the network's features of each sample are numbers, (B,), bool: the nearest code says it no more."""
        features = self.token_adapt.reversal.features(self._maps(tokens, chain, draws))
        return features.flatten(1).isfinite().all(dim=1)

    def _score(self, tokens: Tensor | None, true: Tensor, images: Tensor) -> Tensor:
        """Share of exact tokens and squared pixel error of each sample, (B, 2); NaN without a prediction."""
        if tokens is None:
            return images.new_full((len(images), 2), torch.nan)
        exact = (tokens == true).flatten(1).float().mean(dim=1)
        tokenizer = self.tokenizer()
        if not tokenizer.can_decode:
            return torch.stack((exact, torch.full_like(exact, torch.nan)), dim=1)
        low, high = tokenizer.pixel_range
        error = ((decoded_pixels(tokenizer, tokens) - images) / (high - low)).square().flatten(1).mean(dim=1)
        return torch.stack((exact, error), dim=1)

    def _scores(self, tokens: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        """g(A(f(tokens))): logits (B, h, w, K), or values (B, h, w, D)."""
        return self.token_adapt.reverse(self._maps(tokens, chain, draws))

    def _predicted(self, tokens: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        """Tokens (B, h, w) [, channels] that `_scores` stand for, scored in pieces where there are many codes."""
        if self.codebook is None:
            return self._tokens(self._scores(tokens, chain, draws))
        return self.token_adapt.reverse_codes(self._maps(tokens, chain, draws))

    def _maps(self, tokens: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        """A(f(tokens)), (B, M, 2h, 2w)."""
        maps = self.token_adapt.convert(self._embedded(tokens))
        # Interpolation and its weights stay in float32 under autocast.
        return self._applied(maps.float(), chain, draws)

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Tokens as maps (B, D, H, W), float32."""
        if self.codebook is None:
            return tokens.movedim(-1, 1).float()
        return F.embedding(tokens.long(), self.codebook).movedim(-1, 1)

    def _tokens(self, scores: Tensor) -> Tensor:
        """Tokens that logits (B, h, w, K) or values (B, h, w, D) stand for."""
        if self.codebook is not None:
            return scores.argmax(dim=-1)
        tokenizer = self.tokenizer()
        return scores.round().clamp(tokenizer.minimum, tokenizer.minimum + tokenizer.codebook_size - 1).long()

    def _nearest(self, embeddings: Tensor) -> Tensor:
        """Tokens nearest to embeddings (B, D, h, w)."""
        rows = embeddings.movedim(1, -1)
        if self.codebook is None:
            return self._tokens(rows)
        return NEAREST_CODES[self.tokenizer().distance](rows, self.codebook)

    @staticmethod
    def _applied(maps: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        for augment, drawn in zip(chain, draws, strict=True):
            maps = augment.apply(maps, drawn)
        return maps

    def _augmented(self, images: Tensor, chain: Sequence[Any], draws: Sequence[Any]) -> Tensor:
        """Images under the draws; see `augmented_pixels`."""
        return augmented_pixels(self.tokenizer(), images, lambda pixels: self._applied(pixels, chain, draws))

    def _draw(
        self, chain: Sequence[Any], size: int, device: torch.device | str, generator: torch.Generator | None = None
    ) -> list[Any]:
        places, draws = self.token_adapt.map_places, []
        for augment in chain:
            draws.append(augment.sample(size, places, device=device, generator=generator))
            places = augment.out_grid(places)
        return draws

    def _eval_draws_of(self, name: str, samples: Tensor, device: torch.device) -> list[Any]:
        """The draws that belong to places in the data set, (B,), whoever else is in the batch."""
        blocks, chain = self._eval_draws[name], self.eval_augments[name]
        while len(blocks) <= int(samples.max()) // _EVAL_BLOCK:
            generator = torch.Generator().manual_seed(self.eval_seed + len(blocks))
            blocks.append(self._draw(chain, _EVAL_BLOCK, "cpu", generator))
        whole = blocks[0] if len(blocks) == 1 else [join_draws(parts) for parts in zip(*blocks, strict=True)]
        return [draws_to(take_draws(draws, samples), device) for draws in whole]

    def _fit_scale(self, tokens: Tensor) -> None:
        """Mean and deviation of each channel, from the first batch of all processes."""
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

    def _check_chain(self, name: str, chain: Sequence[Any]) -> None:
        places, needed = tuple(self.token_adapt.map_places), tuple(self.token_adapt.out_map_places)
        for augment in chain:
            if not hasattr(augment, "out_grid"):
                raise ValueError(
                    f"{name} have a {type(augment).__name__}, which draws nothing that pixels and map could share; "
                    "use geometry and mixing alone, such as seitpp.BatchRandomFlip or seitpp.BatchMixup"
                )
            places = tuple(augment.out_grid(places))
        if places != needed:
            raise ValueError(
                f"{name} take TokenAdapt's map of {self.token_adapt.map_places} places to {places}, and its out_grid "
                f"{self.token_adapt.out_grid} needs {needed}; let them end with a crop of that size, such as "
                f"seitpp.BatchRandomResizedCrop or seitpp.BatchCenterCrop with size={needed}"
            )

    def _take_tokenizer(self, tokenizer: Any) -> None:
        """Check that the tokenizer fits the network, and keep its codebook."""
        network, kind = self.token_adapt, type(tokenizer).__name__
        if not tokenizer.spatial:
            raise ValueError(
                f"{kind} has no spatial grid: its tokens do not lie at places of the image, so that no geometric "
                "augmentation can act on them; TokenAdapt needs a tokenizer with one"
            )
        if tuple(tokenizer.grid) != tuple(network.grid):
            raise ValueError(f"{kind} makes grids of {tokenizer.grid} tokens, token_adapt has grid={network.grid}")
        if tokenizer.codebook is None:
            found: tuple[int | None, int] = None, tokenizer.channels
        else:
            found = tuple(tokenizer.codebook.shape)
        if found != (network.codebook_size, network.code_dim):
            raise ValueError(
                f"{kind} has codebook_size={found[0]} and code_dim={found[1]}, token_adapt has "
                f"{network.codebook_size} and {network.code_dim}; set them to the tokenizer's"
            )
        if tokenizer.codebook is not None and self.codebook.device.type != "meta":
            self.codebook.copy_(tokenizer.codebook.detach())

    def _before_loading(self, state_dict: dict, prefix: str, *_args: Any) -> None:
        """Loading hook: weights that belong to another codebook are refused."""
        self._scaled = None
        loaded = state_dict.get(prefix + "codebook")
        if loaded is None or self.codebook is None:
            return
        self.tokenizer()
        own = codebook_identity(self.codebook)
        check_same_tokenizer(codebook_identity(loaded), "the checkpoint", own, "the config's tokenizer")


def _plain(value: Any) -> Any:
    """Dicts, lists, numbers and text, as JSON keeps them."""
    return json.loads(json.dumps(value))


def _middle(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """The middle (B, h, w) [, channels] of tokens (B, H, W) [, channels]."""
    top, left = ((side - kept) // 2 for side, kept in zip(tokens.shape[1:3], grid, strict=True))
    return tokens[:, top : top + grid[0], left : left + grid[1]]
