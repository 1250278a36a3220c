"""Image files as mmpretrain's classifiers of pixels take them: its pipelines behind our sources and decoding."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image

from seitpp.datasets.source_dataset import SourceDataset
from seitpp.images.corruptions import Corruption, cut_border
from seitpp.images.decoding import UnreadableImageError
from seitpp.images.resizing import fit_image
from seitpp.ingest.loading import is_of_one_image, reason_of
from seitpp.ingest.sources.files import join
from seitpp.io.text import shown
from seitpp.registry import DATASETS

_LOADER = "LoadImageFromFile"


@DATASETS.register_module()
class PixelDataset(SourceDataset):
    """Images and labels for a classifier of pixels, such as any of mmpretrain's, through a pipeline of mmpretrain's.

    Each sample begins as mmcv's `LoadImageFromFile` leaves it (`img`, (H, W, 3), BGR, uint8; `img_shape`, `ori_shape`),
    with `img_path`, `sample_idx` and `gt_label`, but read and decoded as everywhere here: grey, CMYK and 16-bit images
    become 8-bit colour, EXIF turns them, transparency is laid over white, and an image that cannot be read is an error.
    A `LoadImageFromFile` at the head of the pipeline is left out; by its `color_type="grayscale"` images are read as
    grey, `img` (H, W).

    A corruption acts right before the step that packs (`PackInputs`), on what the network receives, while it is uint8:
    floats are refused. It takes channels as RGB, as `ImageDataset` does, so that both give the same image the same
    noise. With the order `imagenet-c` the pipeline only tells the size: the corrupted crop, 224 x 224, is brought to it
    (bicubic, with antialiasing), and nothing else of the pipeline's acts on it.

    Args:
        source: As all other options but the next: see `SourceDataset`.
        pipeline: Steps, as configs or callables; types without a scope are looked up in mmpretrain's registry.
    """

    def __init__(self, source: str, pipeline: Sequence[dict | Callable], *args: Any, **options: Any) -> None:
        super().__init__(source, *args, **options)
        loader, steps = _split_off_loader(pipeline)
        self.in_channels = _in_channels(loader)
        self.pipeline = Compose([LoadPixels(self), *_build(steps, self.corruption)])

    def __getitem__(self, idx: int) -> dict:
        """Return a sample of the pipeline, for `default_collate` or `pseudo_collate` to put together.

        An image that cannot be read is a `ValueError`; an `OSError` where the machine or the network is at fault.
        """
        self.full_init()
        idx = operator.index(idx)  # also of NumPy and torch
        if not -len(self) <= idx < len(self):
            raise IndexError(f"sample {idx} of a data set of {len(self)}")
        sample = self.prepare_data(idx % len(self))
        if sample is None:
            raise ValueError(f"{self._called(idx)}: a step of the pipeline gave None, and no image may be left out")
        return sample

    def load(self, idx: int) -> tuple[Image.Image, Image.Image | None]:
        """Return an image, RGB or grey, upright, without its border, and its crop that is corrupted before resizing."""
        number = self.data_list[idx]
        try:
            image, _ = self._source.load(number, self.in_channels)
            image = cut_border(image, self.border)
            if self.corruption is None or self.corruption.order != "imagenet-c":
                return image, None
            return image, self.corruption.apply_to_crop(image, number)
        except (UnreadableImageError, OSError) as error:
            if not is_of_one_image(error):
                raise OSError(f"{self._called(idx)} cannot be read at present: {reason_of(error)}") from error
            raise ValueError(
                f"{self._called(idx)} cannot be read: {reason_of(error)}. Repair such files, or name the others in a "
                "list (path and class per line): a score must not depend on which files could be read"
            ) from error

    def path(self, idx: int) -> str:
        """Return the path of an image's file, or its name in a source that is not of image files."""
        name = self._source.names[self.data_list[idx]]
        return join(self._source.root, name) if self._source.listable else name

    def _called(self, idx: int) -> str:
        return f"{self.store_path}: {self._source.names[self.data_list[idx]]}"


class LoadPixels:
    """First step of the pipeline: read the image of a `PixelDataset`, as mmcv's `LoadImageFromFile` would."""

    def __init__(self, dataset: PixelDataset) -> None:
        self.dataset = dataset

    def __call__(self, results: dict) -> dict:
        index, dataset = results["sample_idx"], self.dataset
        image, crop = dataset.load(index)
        results["img"] = _as_mmcv(image)
        results["img_shape"] = results["ori_shape"] = (image.height, image.width)
        results["img_path"] = dataset.path(index)
        results["image_number"], results["corrupted_crop"] = dataset.data_list[index], crop
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class CorruptPixels:
    """Step of a pipeline that corrupts `img`, (H, W, C), uint8 (BGR for three channels), the `image_number`-th.

    With the order `imagenet-c` the `corrupted_crop` takes its place, at its size.
    """

    def __init__(self, corruption: Corruption) -> None:
        self.corruption = corruption

    def __call__(self, results: dict) -> dict:
        pixels = results["img"]
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
            found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
            raise ValueError(
                f"the image is {found} when it comes to be packed, and a corruption wants uint8 (H, W, C); leave "
                "normalising to data_preprocessor (mean, std), and end the pipeline with PackInputs"
            )
        if self.corruption.order == "imagenet-c":
            height, width = pixels.shape[:2]
            crop = _as_mmcv(fit_image(results.pop("corrupted_crop"), (height, width)))
            results["img"] = crop.reshape(pixels.shape)
        else:
            planes = np.atleast_3d(pixels)[..., ::-1].transpose(2, 0, 1)
            corrupted = self.corruption.apply(planes, results["image_number"])
            results["img"] = np.ascontiguousarray(corrupted.transpose(1, 2, 0)[..., ::-1]).reshape(pixels.shape)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.corruption})"


def _as_mmcv(image: Image.Image) -> np.ndarray:
    """Return pixels as mmcv's loader does: (H, W, 3), BGR, or of a grey image (H, W)."""
    pixels = np.asarray(image)
    return pixels.copy() if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)  # both may be written to


def _split_off_loader(pipeline: Sequence[dict | Callable]) -> tuple[Any, list[dict | Callable]]:
    """Return a leading `LoadImageFromFile`, or None, and the other steps."""
    if not isinstance(pipeline, Sequence) or isinstance(pipeline, str):
        raise ValueError(f"pipeline is {shown(pipeline)}, expected a list of steps")
    steps = list(pipeline)
    has_loader = bool(steps) and _type_of(steps[0]) == _LOADER
    return (steps[0], steps[1:]) if has_loader else (None, steps)


def _in_channels(loader: Any) -> int:
    """Return the channels of images as a loader reads them; refuse one that reads them otherwise than here."""
    options = loader if isinstance(loader, dict) else {} if loader is None else vars(loader)
    channels = {"color": 3, "grayscale": 1}.get(options.get("color_type", "color"))
    if options.get("to_float32") or channels is None:
        raise ValueError(
            f"the pipeline's {_LOADER} is {shown(dict(options))}; PixelDataset reads images itself, as uint8, BGR or "
            "grey: leave to_float32 out, and color_type or set it to 'grayscale'"
        )
    return channels


def _build(steps: Sequence[dict | Callable], corruption: Corruption | None) -> list[Callable]:
    from mmpretrain.registry import TRANSFORMS  # takes seconds, and tokens do without

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps]
    if corruption is not None and steps:  # without steps there is nothing to score, as where a tool looks at labels
        packing = [place for place, step in enumerate(built) if type(step).__name__.startswith("Pack")]
        if len(packing) != 1:
            raise ValueError(
                f"the pipeline has {len(packing)} steps that pack ({', '.join(map(_type_of, steps))}); a "
                "corruption comes right before it: expected one, such as PackInputs"
            )
        built.insert(packing[0], CorruptPixels(corruption))
    return built


def _type_of(step: Any) -> str:
    kind = step.get("type") if isinstance(step, dict) else type(step)
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
