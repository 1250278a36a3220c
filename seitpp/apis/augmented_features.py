"""Features of augmented samples, by what the augmentations act on: embeddings, TokenAdapt's map, or pixels (Fig. A)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config, ConfigDict
from torch import Tensor

from seitpp.apis.classification import TokenClassificationInferencer
from seitpp.apis.feature_extractor import FeatureExtractor
from seitpp.datasets import TokenDataset
from seitpp.engine.model_kind import ModelKind, model_kind
from seitpp.engine.stores.augments import fit_augments, fit_crops, image_size_of
from seitpp.io.config_file import dicts_in, type_name
from seitpp.io.progress import progress_bar
from seitpp.io.text import did_you_mean, nearest_names, shorten
from seitpp.registry import TRANSFORMS
from seitpp.storage import StoreReader
from seitpp.structures.transform_tree import walk

PANELS = ("clean", "direct", "TokenAdapt", "pixels")


@dataclass(frozen=True)
class ChosenSamples:
    """N samples of some classes of a store, in random order, so that what a batch shares is no sign of a class.

    Attributes:
        indices: Index of each in the store, (N,), int64.
        labels: Its class, (N,), int64.
        names: Names of the classes that were chosen, by their index in the store.
    """

    indices: np.ndarray
    labels: np.ndarray
    names: dict[int, str]


@dataclass(frozen=True)
class AugmentedFeatures:
    """What a model makes of N samples in D draws of an augmentation.

    Attributes:
        features: (D, N, C), float32, finite.
        predicted: The class that a classifier says, (D, N), int64; None of a model without classes.
    """

    features: np.ndarray
    predicted: np.ndarray | None

    @property
    def points(self) -> np.ndarray:
        """All features in a row, (D * N, C), those of the first draw first."""
        return self.features.reshape(-1, self.features.shape[-1])


def choose_samples(
    reader: StoreReader, classes: Sequence[str] | None, num_classes: int, per_class: int, seed: int
) -> ChosenSamples:
    """Draw samples of the named classes of a store, or of random ones; names may be indices where there are no names.

    A class with fewer samples than `per_class` gives all that it has.

    Raises:
        ValueError: The store has no labels or no such class, fewer than two classes are left, or one has one sample.
    """
    if reader.labels is None:
        raise ValueError(f"{reader.path} has no class labels, by which points are coloured; name a store with labels")
    labels, generator = np.asarray(reader.labels, np.int64), np.random.default_rng(seed)
    known = {i: (reader.classes[i] if reader.classes else str(i)) for i in np.unique(labels).tolist()}
    if classes is None:
        drawn = generator.permutation(list(known))[:num_classes]
        chosen = {index: known[index] for index in sorted(drawn.tolist())}
    else:
        chosen = {_index_of(name, known, reader): name for name in classes}
    if len(chosen) < 2:
        raise ValueError(f"{len(chosen)} class of {reader.path} is chosen ({shorten(chosen.values())}), expected two")
    rows = {index: np.flatnonzero(labels == index) for index in chosen}
    if single := [chosen[index] for index, found in rows.items() if min(len(found), per_class) < 2]:
        raise ValueError(f"class {single[0]!r} of {reader.path} gives one sample, expected two at least to separate")
    drawn = np.concatenate([generator.permutation(found)[:per_class] for found in rows.values()])
    indices = generator.permutation(drawn)
    return ChosenSamples(indices, labels[indices], chosen)


def _index_of(name: str, known: dict[int, str], reader: StoreReader) -> int:
    found = next((index for index, other in known.items() if other == name), None)
    if found is None:
        hint = did_you_mean(nearest_names(name, known.values())) or f"; there are {shorten(known.values(), 20)}"
        raise ValueError(f"{reader.path} has no samples of a class {name!r}{hint}")
    return found


def store_under_test(config: Config) -> Path:
    """Return the token store that a config is tested on, or else validated on."""
    for name in ("test_dataloader", "val_dataloader"):
        dataset = (config.get(name) or {}).get("dataset") or {}
        if isinstance(dataset.get("store"), str):
            return Path(dataset.get("data_root") or "", dataset.store)
    raise ValueError(f"{config.filename} names no token store to test on; name one (--store)")


def token_adapt_of(config: Config) -> ConfigDict | None:
    """Return the TokenAdapt among the training augmentations of a config, with what it applies; None without one."""
    preprocessor = (config.get("model") or {}).get("data_preprocessor") or config.get("data_preprocessor") or {}
    found = (part for part in dicts_in(preprocessor.get("augments")) if type_name(part) == "TokenAdaptAugment")
    return copy.deepcopy(next(found, None))


def unmixed(augments: Sequence[ConfigDict]) -> list[ConfigDict]:
    """Leave out Mixup and CutMix, which make samples of two classes, with the choices that they are part of."""
    built = [TRANSFORMS.build(cfg) for cfg in augments]
    return [cfg for cfg, one in zip(augments, built, strict=True) if not any(_mixes(part) for part in walk([one]))]


def _mixes(part: Any) -> bool:
    return getattr(part, "mixes", False)


class PanelFeatures:
    """Encodes samples of a store as they are and augmented, all with the same draws.

    Draws agree but for rounding to whole positions: tokens have one, TokenAdapt's map 2 x 2, images many.

    Args:
        config: Config of a classifier, an MTM or a segmentor, or its path.
        checkpoint: Its weights.
        reader: The store.
        samples: Those of the store to encode.
        token_adapt: Config of a `seitpp.TokenAdaptAugment`: what it applies is applied in all panels.
        device: Where to compute; by default an accelerator if there is one.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Model, checkpoint and store do not fit each other, or all that is applied mixes samples.
    """

    def __init__(
        self,
        config: Config,
        checkpoint: str | Path,
        reader: StoreReader,
        samples: ChosenSamples,
        token_adapt: ConfigDict,
        device: str | None = None,
    ) -> None:
        self._classify: Callable[[Tensor], Tensor] | None = None
        if model_kind(config) is ModelKind.CLASSIFIER:
            model = TokenClassificationInferencer(config, checkpoint, device).model
            self.extractor = FeatureExtractor(model)
            self._classify = lambda features: model.head((features,) if model.neck is None else model.neck((features,)))
        else:
            self.extractor = FeatureExtractor(config, checkpoint, device)
        self.reader, self.samples = reader, samples
        self._inputs = self.extractor.open(reader.path, samples.indices.tolist())
        self._preprocessor = self.extractor.model.data_preprocessor
        self._crop = self._preprocessor.crop_size or reader.grid
        self._token_adapt = ConfigDict(token_adapt, augments=unmixed(token_adapt.get("augments") or []))
        if not self._token_adapt.augments:
            raise ValueError("TokenAdapt applies nothing but Mixup and CutMix; name a config with other augmentations")
        fit_augments([self._token_adapt], reader, self._crop)

    def augments(self, panel: str) -> list[dict]:
        """Return the augmentations of a panel; `ValueError` where they need what the store lacks."""
        if panel == "clean":
            return []
        if panel == "direct":
            return self._fitted(self._crop)
        if panel == "TokenAdapt":
            return [self._token_adapt]
        size = image_size_of(self.reader)
        if size is None:
            raise ValueError(f"{self.reader.path} does not tell the size of the images that its tokens show")
        kept = tuple(
            side * tokens // all_ for side, tokens, all_ in zip(size, self._crop, self.reader.grid, strict=True)
        )
        return [dict(type="seitpp.PixelAugment", tokenizer=str(self.reader.path), augments=self._fitted(kept))]

    def _fitted(self, size: Sequence[int]) -> list[ConfigDict]:
        augments = copy.deepcopy(self._token_adapt.augments)
        fit_crops(augments, tuple(size))
        return augments

    def prepare(self, panel: str) -> None:
        """Let the data preprocessor augment for a panel; raises what its parts do where they do not fit the store."""
        self._preprocessor.augments = Compose([TRANSFORMS.build(cfg) for cfg in self.augments(panel)])
        dataset = TokenDataset(str(self.reader.path), lazy_init=True)
        self._preprocessor.prepare_training(dataset.metainfo, str(self.reader.path))

    def _augmented(self, tokens: Tensor) -> Tensor:
        """Return what the encoder reads of a batch, without labels, which no augmentation here needs."""
        return self._preprocessor.process(self._preprocessor.cast_data({"inputs": tokens}), training=True)["inputs"]

    @torch.no_grad()
    def encode(self, panel: str, draws: int, batch_size: int, seed: int) -> AugmentedFeatures:
        """Encode all samples, each `draws` times, by whole batches on the device."""
        self.prepare(panel)
        features: list[Tensor] = []
        predicted: list[Tensor] = []
        devices = [] if self._preprocessor.device.type == "cpu" else [self._preprocessor.device]
        with progress_bar(f"encoding, {panel}", "samples") as progress, torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            for _ in range(draws):
                for batch in self._inputs.batches(batch_size):
                    found = self.extractor.model.encode(self._augmented(batch["inputs"])).float()
                    self.extractor._check_found(found, sum(map(len, features)))
                    features.append(found.cpu())
                    if self._classify is not None:
                        predicted.append(self._classify(found).argmax(dim=1).cpu())
                    progress(sum(map(len, features)), draws * len(self._inputs))
        by_draw = (draws, len(self._inputs))
        return AugmentedFeatures(
            torch.cat(features).unflatten(0, by_draw).numpy(),
            torch.cat(predicted).unflatten(0, by_draw).numpy() if predicted else None,
        )
