"""Pictures of the study's tokens, where stores, images and trained weights are on this machine."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from seitpp.benchmarking.study.figures import figure_path
from seitpp.benchmarking.study.jobs import DONE
from seitpp.benchmarking.study.methods import ENCODERS, TOKEN_ADAPT
from seitpp.benchmarking.study.plan import Study
from seitpp.engine.resuming import newest_checkpoint
from seitpp.images.decoding import pixels_of
from seitpp.ingest import open_image_source
from seitpp.io.atomic_write import written_whole
from seitpp.storage import StoreReader
from seitpp.structures.indices import spread
from seitpp.tokenizers import Tokenizer, tokenizer_from_store
from seitpp.visualization.augmentations import AugmentationPictures, load_token_adapt
from seitpp.visualization.filled_in import load_mtm
from seitpp.visualization.method_steps import method_steps
from seitpp.visualization.pictures import labelled_grid
from seitpp.visualization.step_picture import step_picture

_STEP_IMAGES, _AUGMENTED_IMAGES = 4, 5
_SHOWN_PANELS = ("Horizontal flip", "Affine", "Random resized crop", "Colours")
_TEST = "test"  # the split that pictures show


def make_pictures(study: Study, folder: Path) -> list[Path]:
    """Write what tokens, TokenAdapt and MTM make of test images into a folder, as `study_SET_*.png`; return the paths.

    MTM is that of SeiT++ on the main share. What needs a store, weights or images that are not on this machine is left
    out.
    """
    store = study.store("tokens") / _TEST
    adapted = _finished(study, study.token_adapt_name(), TOKEN_ADAPT["tokens"])
    if adapted is None or not store.is_dir():
        return []
    reader = StoreReader(store)
    tokenizer = tokenizer_from_store(reader).eval()
    token_adapt = load_token_adapt(*adapted, reader, tokenizer)
    chosen = _of_classes(reader.labels, _AUGMENTED_IMAGES)
    tokens = torch.from_numpy(reader.read(chosen).astype("int64"))
    panels = AugmentationPictures(tokenizer, tokens, token_adapt).panels(_SHOWN_PANELS)
    # Tokens have few colours: this halves the file and shows the same.
    pictures = {"augmentations": labelled_grid(panels).quantize(256, dither=Image.Dither.NONE)}
    encoder = _finished(study, study.encoder_name("mtm", study.size.main_share, 0), ENCODERS["mtm"].config)
    if encoder is not None and (study.data / _TEST).is_dir():
        report = json.loads((store / "report" / "report.json").read_text(encoding="utf-8"))
        sizes = (report["source_bytes_per_image"], report["token_bytes_per_image"])
        images = _test_images(study, tokenizer)
        pictures["method"] = step_picture(method_steps(tokenizer, images, sizes, token_adapt, load_mtm(*encoder)))
    for what, picture in pictures.items():
        with written_whole(figure_path(study, folder, what)) as temporary:
            picture.save(temporary, format="png", optimize=True)
    return [figure_path(study, folder, what) for what in pictures]


def _finished(study: Study, run: str, config: str) -> tuple[Path, str] | None:
    """Return config and weights of a run; None where it has not ended, or its weights are not here."""
    folder = study.out / run
    weights = newest_checkpoint(str(folder)) if (folder / DONE).exists() else None
    return None if weights is None else (folder / Path(study.set.config(config)).name, weights)


def _test_images(study: Study, tokenizer: Tokenizer) -> torch.Tensor:
    """Return test images (B, C, H, W), uint8."""
    source = open_image_source(str(study.data), split=_TEST)
    chosen = _of_classes(source.labels, _STEP_IMAGES)
    return torch.from_numpy(np.stack([pixels_of(source.load(index, tokenizer.in_channels)[0]) for index in chosen]))


def _of_classes(labels: np.ndarray, count: int) -> list[int]:
    """Return the first samples of so many classes, evenly spread."""
    firsts = np.unique(labels, return_index=True)[1]
    return [int(firsts[place]) for place in spread(len(firsts), count)]
