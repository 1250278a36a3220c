"""Image files as mmpretrain's classifiers of pixels take them: its pipelines behind our sources and decoding."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.dataset import Compose, force_full_init
from mmengine.registry import DefaultScope
from PIL import Image

from seitpp.datasets.source_dataset import SourceDataset
from seitpp.images.corruptions import Corruption, cut_border
from seitpp.images.decoding import UnreadableImageError
from seitpp.images.resizing import fit_image
from seitpp.ingest.loading import is_of_one_image
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
    A `LoadImageFromFile` at the head of the pipeline is left out.

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
        self.pipeline = _build(_without_loader(pipeline), self.corruption)

    @force_full_init
    def __getitems__(self, indices: Sequence[int]) -> list[dict]:
        """Return samples of the pipeline, for `default_collate` or `pseudo_collate` to put together.

        An image that cannot be read is a `ValueError`; an `OSError` where the machine or the network is at fault.
        """
        return [self.prepare_data(index) for index in indices]

    def __getitem__(self, idx: int) -> dict:
        self.full_init()
        if not -len(self) <= idx < len(self):
            raise IndexError(f"sample {idx} of a data set of {len(self)}")
        return self.prepare_data(idx % len(self))

    def prepare_data(self, idx: int) -> dict:
        info, number = self.get_data_info(idx), self.data_list[idx]
        image = self._load(number)
        info["img_path"] = join(self._source.root, info["img_path"])
        info["img_shape"] = info["ori_shape"] = (image.height, image.width)
        info["img"] = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
        if self.corruption is not None:
            info["image_number"] = int(number)
            if self.corruption.order == "imagenet-c":
                info["corrupted_crop"] = self.corruption.apply_to_crop(image, int(number))
        sample = self.pipeline(info)
        if sample is None:
            raise ValueError(f"{self._called(number)}: a step of the pipeline gave None, and no image may be left out")
        return sample

    def _load(self, number: int) -> Image.Image:
        try:
            image, _ = self._source.load(number, 3)
            return cut_border(image, self.border)
        except (UnreadableImageError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if not is_of_one_image(error):
                raise OSError(f"{self._called(number)} cannot be read at present: {reason or repr(error)}") from error
            raise ValueError(
                f"{self._called(number)} cannot be read: {reason}. Repair such files, or name the others in a list "
                "(path and class per line): a score must not depend on which files could be read"
            ) from error

    def _called(self, number: int) -> str:
        return f"{self.store_path}: {self._source.names[number]}"


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
            crop = np.asarray(fit_image(results.pop("corrupted_crop"), (height, width)))
            results["img"] = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
        else:
            planes = np.atleast_3d(pixels)[..., ::-1].transpose(2, 0, 1)
            corrupted = self.corruption.apply(planes, results["image_number"])
            results["img"] = np.ascontiguousarray(corrupted.transpose(1, 2, 0)[..., ::-1]).reshape(pixels.shape)
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.corruption})"


def _without_loader(pipeline: Sequence[dict | Callable]) -> list[dict | Callable]:
    """Return the steps after a leading `LoadImageFromFile`; refuse one that reads images otherwise than here."""
    steps = list(pipeline)
    if not steps or _type_of(steps[0]) != _LOADER:
        return steps
    first = steps[0] if isinstance(steps[0], dict) else vars(steps[0])
    if first.get("to_float32") or first.get("color_type", "color") != "color":
        raise ValueError(
            f"the pipeline's {_LOADER} is {shown(dict(first))}; PixelDataset reads images itself, as BGR and uint8: "
            "leave to_float32 and color_type out"
        )
    return steps[1:]


def _build(steps: Sequence[dict | Callable], corruption: Corruption | None) -> Compose:
    from mmpretrain.registry import TRANSFORMS  # takes seconds, and tokens do without

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps]
    if corruption is not None:
        packing = [place for place, step in enumerate(built) if type(step).__name__.startswith("Pack")]
        if len(packing) != 1:
            raise ValueError(
                f"the pipeline has {len(packing)} steps that pack ({', '.join(map(_type_of, steps)) or 'no steps'}); a "
                "corruption comes right before it: expected one, such as PackInputs"
            )
        built.insert(packing[0], CorruptPixels(corruption))
    return Compose(built)


def _type_of(step: Any) -> str:
    kind = step.get("type") if isinstance(step, dict) else type(step)
    return kind.rpartition(".")[2] if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
