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

from seitpp.layers.channel_moments import channel_moments, check_channels
from seitpp.registry import MODELS, TRANSFORMS
from seitpp.structures.transform_tree import walk
from seitpp.tokenizers.codebook import NEAREST_CODES, load_codebook
from seitpp.tokenizers.frozen import FrozenTokenizer
from seitpp.tokenizers.identity import check_same_tokenizer, codebook_identity


@MODELS.register_module()
class TokenDataPreprocessor(BaseDataPreprocessor):
    """Owns the frozen codebook and the augmentations, and hands the model what its config asks for.

    In training the batch passes through `augments` in order, each a registered transform on the whole batch. The
    centre crop then cuts what is larger than `crop_size`: everything outside training, and in training what no
    augmentation cropped. Nothing here has a gradient, and all of it runs in float32 even under autocast, where
    bfloat16 would change codes.

    Tokens without a codebook (DCT coefficients, C integers per position) pass through the augmentations as they are,
    and leave with each channel at mean 0 and deviation 1 over the training data; both are kept in checkpoints.

    A batch may hold images in place of tokens: the `tokenizer` turns them into the tokens that a store would hold.

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
        distance: The tokenizer's distance to codes: `cosine` (ViT-VQGAN) or `euclidean` (VQGAN, k-means).
        channels: Integers per position of tokens without a codebook; None with a codebook.
        tokenizer: What made the tokens, for batches of images: its config, or a token store whose header describes it.
            A config is built when it is first used; neither is part of the model's state.
        batch_augments: mmpretrain's `ImageClassifier` passes its `train_cfg` here; must be None, since mixing belongs
            to `augments` with the other augmentations.

    Attributes:
        identity: What tells the tokens' tokenizer from others, see `seitpp.tokenizers.identity`.
        codebook_source: Where the codebook came from, for messages.
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
                "integers per position (DCT coefficients): give exactly one of the two"
            )
        if codebook is None and output != "embeddings":
            raise ValueError(f"output={output!r} needs a codebook; tokens of {channels} integers are 'embeddings'")
        self.channels = channels
        self.codebook_source = "none"
        if codebook is None:
            self.codebook = None
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("std", torch.ones(channels))
        else:
            is_file = isinstance(codebook, (str, Path))
            self.codebook_source = str(codebook) if is_file else "an array"
            values = load_codebook(codebook) if is_file else codebook
            self.register_buffer("codebook", torch.as_tensor(values, dtype=torch.float32).clone())
        self.identity = codebook_identity(self.codebook, channels)
        self.augments = Compose([TRANSFORMS.build(cfg) for cfg in augments or []])
        self.crop_size = (crop_size, crop_size) if isinstance(crop_size, int) else crop_size
        self.output = output
        self.with_data_samples = with_data_samples
        self.num_classes = num_classes
        self.distance = distance
        self._tokenizer: FrozenTokenizer | None = None
        if tokenizer is not None:
            self.use_tokenizer(tokenizer)
        self._register_load_state_dict_pre_hook(self._check_state)

    @property
    def codebook_sha256(self) -> str | None:
        return self.identity.get("codebook_sha256")

    @property
    def _name(self) -> str:
        return f"the data preprocessor (codebook {self.codebook_source})"

    @torch.no_grad()
    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Prepare one batch, see `seitpp.structures.batch`; `images` in place of `inputs` are tokenised first.

        Returns `inputs`, codes int64 (B, h, w) or embeddings float32 (B, D, h, w), and `data_samples` or None.
        """
        batch = self.cast_data(dict(data))
        if "images" in batch:
            batch["inputs"] = self.tokens_of(batch.pop("images"))
        batch = self.process(batch, training)
        needed = self.with_data_samples or not training
        # Indices come from the loader's batch: reading them back from the device would wait for it.
        samples = _data_samples(data["sample_idx"].tolist(), batch) if needed else None
        return {"inputs": batch["inputs"], "data_samples": samples}

    def process(self, batch: dict, training: bool) -> dict:
        """Augment (in training), crop, and look up or quantise a batch on the device; targets and label maps follow."""
        device = batch["inputs"].device.type
        if self.codebook is None and not batch["inputs"].is_floating_point():
            check_channels(batch["inputs"], self.channels)
            batch["inputs"] = batch["inputs"].movedim(-1, 1).float()
        autocast = torch.is_autocast_enabled(device)
        context = {
            "codebook": self.codebook,
            "distance": self.distance,
            "network_dtype": torch.get_autocast_dtype(device) if autocast else torch.float32,
        }
        if self.num_classes is not None:
            context["num_classes"] = self.num_classes
        with torch.autocast(device, enabled=False):
            if training:
                batch = self.augments({**batch, **context})
            if self.crop_size is not None:
                batch = _centre_crop(batch, self.crop_size)
            convert = self._to_codes if self.output == "codes" else self._to_embeddings
            return {**batch, "inputs": convert(batch["inputs"])}

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

    def prepare_training(self, metainfo: Mapping, where: str) -> None:
        """Let augmentations read their files and refuse the data set called `where`, before the first step."""
        for transform in walk(self.augments):
            if hasattr(transform, "prepare"):
                transform.prepare(metainfo, where, self.codebook, self.codebook_sha256)

    def fit(self, dataset: Any) -> None:
        """Measure the channels of tokens without a codebook on the training data; a checkpoint brings its own."""
        if self.codebook is None:
            mean, std = channel_moments(dataset, self.channels)
            self.mean.copy_(mean)
            self.std.copy_(std)

    def use_tokenizer(self, tokenizer: dict | str | Path | nn.Module) -> None:
        """Set what tokenises batches of images: a config, the store that it made, or the tokenizer itself."""
        self._tokenizer = FrozenTokenizer(tokenizer, self.check_tokenizer)
        if isinstance(tokenizer, (str, Path)):
            self._tokenizer.on("cpu")  # so that a store that cannot be read is an error here

    @property
    def tokenizer(self) -> Any | None:
        return None if self._tokenizer is None else self._tokenizer.on(self.device)

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Raise `ValueError` if tokens of this tokenizer mean other things than those that this was made for."""
        theirs = codebook_identity(tokenizer.codebook, tokenizer.channels)
        what, advice = f"the {type(tokenizer).__name__}", "Use the tokenizer that made the tokens"
        check_same_tokenizer(theirs, what, self.identity, self._name, advice)

    def tokens_of(self, images: Tensor) -> Tensor:
        """Return the tokens of pixels (B, C, H, W), uint8."""
        if self._tokenizer is None:
            raise ValueError(
                f"the batch holds images {tuple(images.shape)} and no tokens; set the data preprocessor's tokenizer "
                "to that of the tokens which the model was trained on"
            )
        return self._tokenizer.tokens_of(images)

    def _check_state(self, state_dict: dict, prefix: str, *_args: object) -> None:
        """Check, as a loading hook, that weights were trained on tokens of the same codebook."""
        loaded = state_dict.get(prefix + "codebook")
        if loaded is None and self.codebook is None and prefix + "mean" not in state_dict:
            raise ValueError(
                f"the checkpoint has no mean and deviation of {self.channels} integers per position, which this data "
                "preprocessor needs; use the config that the checkpoint was trained with"
            )
        if loaded is not None:
            check_same_tokenizer(codebook_identity(loaded), "the checkpoint", self.identity, self._name)
        elif self.codebook is not None:  # converted checkpoints carry no codebook
            state_dict[prefix + "codebook"] = self.codebook


def _centre_crop(batch: dict, size: tuple[int, int]) -> dict:
    """Cut the central `size` tokens of the grid out of the inputs, and the same part out of label maps."""
    grid = tuple(batch["inputs"].shape[-2:])
    if grid[0] < size[0] or grid[1] < size[1]:
        raise ValueError(
            f"a grid of {grid[0]} x {grid[1]} tokens cannot be cropped to {size[0]} x {size[1]}; set the data "
            "preprocessor's crop_size to what the store holds"
        )
    cropped = {key: batch[key] for key in ("inputs", "gt_sem_seg") if batch.get(key) is not None}
    for key, maps in cropped.items():
        rows, columns = map(_central, grid, size, maps.shape[-2:])
        cropped[key] = maps[..., rows, columns]
    return {**batch, **cropped}


def _central(tokens: int, kept: int, length: int) -> slice:
    """Return the part, of an axis of `length` values over `tokens` tokens, that shows the `kept` central tokens."""
    start = (tokens - kept) // 2
    if (start * length) % tokens or (kept * length) % tokens:
        raise ValueError(
            f"{kept} of {tokens} tokens are no whole number of a label map's {length} values; give label maps a "
            "multiple of the token grid's size, or leave out crop_size"
        )
    return slice(start * length // tokens, (start + kept) * length // tokens)


def _data_samples(indices: list[int], batch: Mapping) -> list[DataSample]:
    """Build one `DataSample` per sample, with its index in the data set, its label, and soft targets if any."""
    samples = [DataSample(metainfo={"sample_idx": index}) for index in indices]
    if batch.get("gt_label") is not None:
        for sample, label in zip(samples, batch["gt_label"].unsqueeze(1), strict=True):
            sample.set_gt_label(label)  # (1,): a scalar would be read back from the device
    if batch.get("gt_score") is not None:
        for sample, score in zip(samples, batch["gt_score"], strict=True):
            sample.set_gt_score(score)
    return samples
