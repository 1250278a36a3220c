"""Tokens (or images, tokenised here) to model input, on the device: augmentation, centre crop, codes or embeddings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import Compose
from mmengine.model import BaseDataPreprocessor
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from seitpp.models.frozen_tokenizer import FrozenTokenizer, check_same_tokens
from seitpp.registry import MODELS, TRANSFORMS
from seitpp.structures.transform_tree import walk
from seitpp.tokenizers.codebook import NEAREST_CODES, codebook_sha256, load_codebook

# Samples whose values give the mean and deviation of each channel of tokens without a codebook.
_MOMENT_SAMPLES = 1024
# Images that are tokenised at a time, as in tools/tokenize_images.py: on a GPU another number may turn a tie.
_ENCODED_IMAGES = 64


def _autocast_dtype(device: str) -> torch.dtype:
    """What networks compute in on a device at this point: autocast's type, or float32."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else torch.float32


def _central(places: int, kept: int, length: int) -> slice:
    """Where the `kept` central ones of `places` lie on an axis of `length` values that shows the same places."""
    start = (places - kept) // 2
    if (start * length) % places or (kept * length) % places:
        raise ValueError(
            f"{kept} of {places} tokens are no whole number of a label map's {length} values; give label maps a "
            "multiple of the token grid's size, or leave out crop_size"
        )
    return slice(start * length // places, (start + kept) * length // places)


@MODELS.register_module()
class TokenDataPreprocessor(BaseDataPreprocessor):
    """Owns the frozen codebook and the augmentations, and hands the model what its config asks for.

    In training the batch passes through `augments` in order, each a registered transform on the whole batch. The
    centre crop then takes what is larger than `crop_size`: everything outside training, and in training what no
    augmentation cropped. Nothing here has a gradient, and all of it runs in float32 even under autocast, where
    bfloat16 would change codes.

    Tokens without a codebook (DCT coefficients, C integers a place) pass through the augmentations as the values they
    are, and leave with each channel at mean 0 and deviation 1 over the training data; both are kept in checkpoints.

    A batch may hold images in place of tokens: with a `tokenizer` they become the tokens that a store of them holds.

    Args:
        codebook: The K vectors that codes index: a token store, a `.npy` file, a torch file that holds one tensor
            (the release's `codebook.ckpt`), or an array (K, D). None for tokens without a codebook.
        augments: Configs of the training augmentations; none if empty.
        crop_size: Height and width of the centre crop, in tokens; None keeps the grid.
        output: `codes` (nearest codebook row where an augmentation left embeddings) or `embeddings`.
        with_data_samples: Whether to build the `DataSample` list that mmpretrain's heads and metrics read. Models that
            need no labels in training (MTM) leave it off.
        non_blocking: Passed to the copy to the device.
        num_classes: Number of classes, for augmentations that make soft targets of labels.
        distance: What the tokenizer finds nearest codes by: `cosine` (ViT-VQGAN) or `euclidean` (VQGAN, k-means).
        channels: Integers a place of tokens without a codebook; None with a codebook.
        tokenizer: What made the tokens, for batches of images: its config, or a token store whose header describes it.
            A config is built when it is first used; neither has a part in the model's state.
        batch_augments: mmpretrain's `ImageClassifier` passes its `train_cfg` here; must be None, since mixing belongs
            to `augments` with the other augmentations.
    """

    codebook: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        codebook: str | Path | np.ndarray | Tensor | None = None,
        augments: list[dict] | None = None,
        crop_size: int | tuple[int, int] | None = None,
        output: Literal["codes", "embeddings"] = "codes",
        with_data_samples: bool = True,
        non_blocking: bool = True,
        num_classes: int | None = None,
        distance: Literal["cosine", "euclidean"] = "cosine",
        channels: int | None = None,
        tokenizer: dict | str | Path | None = None,
        batch_augments: dict | None = None,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if batch_augments is not None:
            raise ValueError(f"batch_augments (the classifier's train_cfg) is {batch_augments}; use `augments` instead")
        if output not in ("codes", "embeddings"):
            raise ValueError(f"output must be 'codes' or 'embeddings', got {output!r}")
        if distance not in NEAREST_CODES:
            raise ValueError(f"distance must be one of {', '.join(NEAREST_CODES)}, got {distance!r}")
        if (codebook is None) == (channels is None):
            raise ValueError(
                f"codebook is {codebook} and channels is {channels}; tokens are codes of a codebook, or `channels` "
                "integers a place (DCT coefficients): give exactly one of the two"
            )
        if codebook is None and output != "embeddings":
            raise ValueError(f"output={output!r} needs a codebook; tokens of {channels} integers are 'embeddings'")
        self.channels = channels
        self.codebook_source, self.codebook_sha256 = "none", None
        if codebook is None:
            self.codebook = None
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("std", torch.ones(channels))
        else:
            self._take_codebook(codebook)
        self.augments = Compose([TRANSFORMS.build(cfg) for cfg in augments or []])
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
        self.output = output
        self.with_data_samples = with_data_samples
        self.num_classes = num_classes
        self.distance = distance
        self._tokenizer: FrozenTokenizer | None = None
        self._tokenizer_is_checked = False
        if tokenizer is not None:
            self.use_tokenizer(tokenizer)
        self._register_load_state_dict_pre_hook(self._refuse_other_codebook)

    def _take_codebook(self, codebook: str | Path | np.ndarray | Tensor) -> None:
        is_file = isinstance(codebook, (str, Path))
        values = load_codebook(codebook) if is_file else codebook
        self.codebook_source = str(codebook) if is_file else "an array"
        self.register_buffer("codebook", torch.as_tensor(values, dtype=torch.float32).clone())
        self.codebook_sha256 = codebook_sha256(self.codebook)

    @torch.no_grad()
    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Prepare one batch.

        Args:
            data: A batch as `seitpp.structures.batch` describes it; `images` in place of `inputs` are tokenised first.
            training: Whether to augment.

        Returns:
            `inputs`, codes int64 (B, h, w) or embeddings float32 (B, D, h, w), and `data_samples`, a list of
            `DataSample` or None.
        """
        batch = self.cast_data(dict(data))
        if "images" in batch:
            batch["inputs"] = self._tokens_of(batch.pop("images"))
        batch = self.process(batch, training)
        needed = self.with_data_samples or not training
        # Places come from the loader's batch: reading them back from the device would wait for it.
        samples = self._data_samples(data["sample_idx"].tolist(), batch) if needed else None
        return {"inputs": batch["inputs"], "data_samples": samples}

    def prepare_training(self, facts: Mapping, where: str) -> None:
        """Let augmentations read their files, and refuse data they cannot take, before the first step.

        Args:
            facts: What the training data set tells of itself, its `metainfo`.
            where: Its name, for messages.
        """
        for transform in walk(self.augments):
            if hasattr(transform, "prepare"):
                transform.prepare(facts, where, self.codebook, self.codebook_sha256)

    def fit(self, dataset: Any) -> None:
        """Measure mean and deviation of each channel of tokens without a codebook; nothing to do with one.

        The same samples, evenly spaced, on every process. A checkpoint that is loaded afterwards brings its own.

        Args:
            dataset: The training data, of which `__getitems__` gives batches.
        """
        if self.codebook is not None:
            return
        places = np.linspace(0, len(dataset) - 1, min(len(dataset), _MOMENT_SAMPLES)).astype(np.int64)
        values = dataset.__getitems__(places)["inputs"]
        self._check_channels(values)
        values = values.flatten(0, -2).double()
        std, mean = torch.std_mean(values, dim=0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 0, std, 1.0))  # a coefficient that is always 0 stays so

    def use_tokenizer(self, tokenizer: dict | str | Path | nn.Module) -> None:
        """Tokenise batches of images by this from now on: a config, the store that it made, or the tokenizer itself."""
        self._tokenizer = FrozenTokenizer(tokenizer)
        if isinstance(tokenizer, (str, Path)):
            self._tokenizer.on("cpu")  # a store that cannot be read is told of here
        self._tokenizer_is_checked = False

    @property
    def tokenizer(self) -> Any | None:
        """The tokenizer for batches of images, on the device; None if there is none."""
        return None if self._tokenizer is None else self._tokenizer.on(self.device)

    def _tokens_of(self, images: Tensor) -> Tensor:
        """Tokens of pixels (B, C, H, W), uint8, exactly as tools/tokenize_images.py stores them."""
        from seitpp.tokenizers.encoding import encode_pixels  # with it come the writers of stores

        tokenizer = self.tokenizer
        if tokenizer is None:
            raise ValueError(
                f"the batch holds images {tuple(images.shape)} and no tokens; set the data preprocessor's tokenizer "
                "to that of the tokens which the model was trained on"
            )
        if not self._tokenizer_is_checked:  # once: hashing waits for the device
            self.check_tokenizer(tokenizer)
            self._tokenizer_is_checked = True
        return encode_pixels(tokenizer, images, str(images.device), _ENCODED_IMAGES).clone()  # usable in autograd

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuse a tokenizer whose tokens mean other things than those this was made for.

        Raises:
            ValueError: It has another codebook, or another number of integers a place.
        """
        check_same_tokens(tokenizer, self.channels, self.codebook, "the data preprocessor", source=self.codebook_source)

    def _check_channels(self, tokens: Tensor) -> None:
        if tokens.dim() != 4 or tokens.shape[-1] != self.channels:
            raise ValueError(
                f"tokens {tuple(tokens.shape)} do not fit: the data preprocessor, which has no codebook, expects "
                f"(B, H, W, {self.channels}); set its `channels` to what the store holds, or give it a codebook"
            )

    def process(self, batch: dict, training: bool) -> dict:
        """Augment (in training), crop, and look up or quantise a batch that lies on the device.

        Args:
            batch: A batch as `seitpp.structures.batch` describes it inside the data preprocessor.
            training: Whether to augment.

        Returns:
            The batch with `inputs` as the model takes them, targets and label maps as they belong to them.
        """
        device = batch["inputs"].device.type
        if self.codebook is None and not batch["inputs"].is_floating_point():
            self._check_channels(batch["inputs"])
            batch["inputs"] = batch["inputs"].movedim(-1, 1).float()
        context = {
            "codebook": self.codebook,
            "distance": self.distance,
            "network_dtype": _autocast_dtype(device),
        }
        if self.num_classes is not None:
            context["num_classes"] = self.num_classes
        with torch.autocast(device, enabled=False):
            if training:
                batch = self.augments({**batch, **context})
            if self.crop_size is not None:  # In training it takes what the augmentations left larger.
                batch = self._centre_crop(batch)
            convert = self._to_codes if self.output == "codes" else self._to_embeddings
            return {**batch, "inputs": convert(batch["inputs"])}

    def _centre_crop(self, batch: dict) -> dict:
        grid = tuple(batch["inputs"].shape[-2:])
        if grid[0] < self.crop_size[0] or grid[1] < self.crop_size[1]:
            raise ValueError(
                f"a grid of {grid[0]} x {grid[1]} tokens cannot be cropped to {self.crop_size[0]} x "
                f"{self.crop_size[1]}; set the data preprocessor's crop_size to what the store holds"
            )
        cropped = {key: batch[key] for key in ("inputs", "gt_sem_seg") if batch.get(key) is not None}
        for key, maps in cropped.items():
            rows = _central(grid[0], self.crop_size[0], maps.shape[-2])
            columns = _central(grid[1], self.crop_size[1], maps.shape[-1])
            cropped[key] = maps[..., rows, columns]
        return {**batch, **cropped}

    def _to_codes(self, inputs: Tensor) -> Tensor:
        if not inputs.is_floating_point():
            return inputs.long()
        return NEAREST_CODES[self.distance](inputs.permute(0, 2, 3, 1), self.codebook)

    def _to_embeddings(self, inputs: Tensor) -> Tensor:
        if self.codebook is None:
            return (inputs - self.mean[:, None, None]) / self.std[:, None, None]
        if inputs.is_floating_point():
            return inputs
        return F.embedding(inputs.long(), self.codebook).permute(0, 3, 1, 2)

    @staticmethod
    def _data_samples(places: list[int], batch: Mapping) -> list[DataSample]:
        """One `DataSample` a sample, with its place in the data set, its label, and soft targets if there are any."""
        samples = [DataSample(metainfo={"sample_idx": place}) for place in places]
        if batch.get("gt_label") is not None:
            for sample, label in zip(samples, batch["gt_label"].unsqueeze(1), strict=True):
                sample.set_gt_label(label)  # (1,): a scalar would be read back from the device
        if batch.get("gt_score") is not None:
            for sample, score in zip(samples, batch["gt_score"], strict=True):
                sample.set_gt_score(score)
        return samples

    def _refuse_other_codebook(self, state_dict: dict, prefix: str, *_args: object) -> None:
        """Loading hook: weights trained on the codes of another codebook would be silently meaningless here."""
        loaded = state_dict.get(prefix + "codebook")
        if self.codebook is None:
            if loaded is not None or prefix + "mean" not in state_dict:
                raise ValueError(
                    f"the checkpoint was {'trained on codes' if loaded is not None else 'saved without the moments'} "
                    f"and this data preprocessor takes {self.channels} integers a place, without a codebook; use the "
                    "config that the checkpoint was trained with"
                )
            return
        if loaded is None:  # Converted checkpoints carry no codebook.
            state_dict[prefix + "codebook"] = self.codebook
        elif loaded.shape != self.codebook.shape or codebook_sha256(loaded) != self.codebook_sha256:
            raise ValueError(
                f"the checkpoint was trained with another codebook ({tuple(loaded.shape)}, sha256 "
                f"{codebook_sha256(loaded)[:12]}) than {self.codebook_source} ({tuple(self.codebook.shape)}, sha256 "
                f"{self.codebook_sha256[:12]}); its codes mean other things. Use the tokens and codebook it was "
                "trained with"
            )
