"""Features of a whole token store or folder of images as `.npy`, written as they are computed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from seitpp.apis.encoder import Pool
from seitpp.apis.feature_extractor import FeatureExtractor
from seitpp.io.atomic_write import written_whole


@dataclass(frozen=True)
class FeatureFiles:
    """What was written.

    Attributes:
        features: `.npy` of the features.
        shape: Its shape, samples first.
        dtype: Its type of number.
        pool: How features were pooled.
        source: What was read.
        labels: `.npy` of class indices, int64, -1 where a sample has none; None if there are no labels.
        names: Text file of the samples' paths, or their store and index, one per line.
        classes: Names of the classes that labels count, or None.
    """

    features: str
    shape: list[int]
    dtype: str
    pool: str
    source: str
    labels: str | None
    names: str
    classes: list[str] | None


def write_features(
    extractor: FeatureExtractor,
    source: str | Path,
    out: str | Path,
    pool: Pool | None = None,
    batch_size: int | None = None,
    dtype: Literal["float32", "float16"] = "float32",
) -> FeatureFiles:
    """Write the features of every sample of a store, or every image below a folder, to `out`.

    They go to disk batch by batch, under another name until the last one is there. Beside `out.npy` lie
    `out_labels.npy`, of the store or the first folders of the images' paths, `out_names.txt`, and `out.json`, which
    describes them.

    Args:
        extractor: Computes them.
        source: Folder of a token store, folder of images, or an image.
        out: File to write; ends in `.npy`.
        pool: As `batch_size`: see `FeatureExtractor`.
        dtype: Type of number in the file.

    Raises:
        FileNotFoundError: Nothing lies at a path.
        ValueError: `out` has another ending, or as `FeatureExtractor`.
    """
    out = Path(out)
    if out.suffix != ".npy":
        raise ValueError(f"{out} does not end in .npy")
    opened = extractor.open(source)
    opened.refuse_inside(out)
    pool = extractor.model.default_pool if pool is None else pool
    with written_whole(out) as temporary:
        features = None
        for number, feature in enumerate(extractor.stream(opened, batch_size=batch_size, pool=pool)):
            if features is None:
                shape = (len(opened), *feature.shape)
                features = np.lib.format.open_memmap(temporary, "w+", np.dtype(dtype), shape)
            features[number] = _converted(feature.numpy(), features.dtype, number)
        assert features is not None  # `stream` refuses a source without samples
        features.flush()
        del features
        labels, classes = opened.labels()
        beside = {name: out.with_name(f"{out.stem}_{name}") for name in ("labels.npy", "names.txt")}
        if labels is not None:
            with written_whole(beside["labels.npy"]) as file, file.open("wb") as handle:
                np.save(handle, labels, allow_pickle=False)
        else:
            beside["labels.npy"].unlink(missing_ok=True)  # of an earlier source
        with written_whole(beside["names.txt"]) as file:
            file.write_text("".join(f"{origin}\n" for origin in opened.origins()), encoding="utf-8")
        files = FeatureFiles(
            features=str(out),
            shape=list(shape),
            dtype=dtype,
            pool=pool,
            source=str(source),
            labels=None if labels is None else str(beside["labels.npy"]),
            names=str(beside["names.txt"]),
            classes=classes,
        )
        with written_whole(out.with_suffix(".json")) as file:
            file.write_text(json.dumps(asdict(files), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return files


def _converted(values: np.ndarray, dtype: np.dtype, number: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = values.astype(dtype)
    if not np.isfinite(converted).all():
        raise ValueError(f"the features of sample {number} are beyond the range of {dtype}; write float32")
    return converted
