"""Pictures of a report: reconstructions, mistakes, what MTM fills in, augmentations, segmentations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seitpp.datasets.sample_pictures import SamplePictures
from seitpp.evaluation.predictions import Predictions
from seitpp.ingest import open_image_source
from seitpp.storage import StoreReader
from seitpp.structures.indices import spread
from seitpp.visualization.augmentations import AugmentationPictures, load_token_adapt
from seitpp.visualization.filled_in import filled_in_rows, load_mtm
from seitpp.visualization.page import HtmlPage
from seitpp.visualization.pictures import PicturePanel, labelled_grid
from seitpp.visualization.results_page import add_worst_samples
from seitpp.visualization.token_pictures import TokenPictures
from seitpp.workflow.plan import Plan

_MOST_MISTAKES = 18
_COLUMNS = 8  # pictures in a row
_SIDE = 128  # pixels of a picture of a mistake


def store_report(plan: Plan, part: str) -> dict[str, Any]:
    """Return what tokenising has measured of a part, `train` or `val`."""
    path = Path(plan.out, "tokens", part, "report", "report.json")
    return json.loads(path.read_text(encoding="utf-8"))


def add_reconstructions(page: HtmlPage, plan: Plan) -> None:
    """Show validation images above what their tokens keep of them; codes where nothing decodes them."""
    path = Path(plan.out, "tokens", "val", "report", "reconstructions.png")
    if path.is_file():
        with Image.open(path) as picture:
            page.picture(picture.copy(), "Validation images, and below them the same decoded from their tokens.")
        return
    reader = StoreReader(Path(plan.out, "tokens", "val"))
    pictures = TokenPictures.of_store(reader)
    page.paragraph(f"The tokenizer has no decoder here. {pictures.note}")
    indices = spread(len(reader), _COLUMNS)
    page.pictures(
        (picture, f"sample {index}")
        for index, picture in zip(indices, pictures.images(reader.read(indices)), strict=True)
    )


def add_mistakes(page: HtmlPage, plan: Plan, predictions: Predictions) -> None:
    """Show the validation images whose wrong class scores highest, beside what their tokens show."""
    samples = SamplePictures(predictions, store=Path(plan.out, "tokens", "val"))

    def draw(rows: np.ndarray) -> list[Image.Image]:
        originals, stored = _originals(plan, predictions.store_indices[rows]), samples.of(rows)
        return [_beside(tiles) for tiles in zip(*(part for part in (originals, stored) if part), strict=True)]

    add_worst_samples(page, predictions, draw, _MOST_MISTAKES)
    page.paragraph(f"Left the image, where it is still there; right its tokens. {samples.note}")


def add_filled_in(page: HtmlPage, plan: Plan) -> None:
    """Show validation images, what MTM sees of them, and what it fills in."""
    reader = StoreReader(Path(plan.out, "tokens", "val"))
    tokenizer = TokenPictures.of_store(reader).tokenizer
    if tokenizer is None:  # said above
        return
    indices = spread(len(reader), _COLUMNS)
    checkpoint = next(step.output for step in plan.steps if step.name == "mtm")
    model = load_mtm(Path(plan.out, "configs", "mtm.py"), checkpoint)
    codes = torch.from_numpy(reader.read(indices).astype(np.int64))
    shown = filled_in_rows(model, tokenizer, codes, torch.tensor(indices))
    page.picture(
        labelled_grid([PicturePanel("", shown)], titles=False), "Hidden tokens of validation images, filled in."
    )


def add_augmentations(page: HtmlPage, plan: Plan) -> None:
    """Show what augmentations make of a few training images, through TokenAdapt where one was trained."""
    reader = StoreReader(Path(plan.out, "tokens", "train"))
    tokenizer = TokenPictures.of_store(reader).tokenizer
    if tokenizer is None or not tokenizer.spatial:
        return
    indices = spread(len(reader), 6)
    tokens = torch.from_numpy(reader.read(indices).astype(np.int64))
    network = None
    if plan.lengths.tokenadapt:
        checkpoint = next(step.output for step in plan.steps if step.name == "tokenadapt")
        network = load_token_adapt(Path(plan.out, "configs", "tokenadapt.py"), checkpoint, reader, tokenizer)
    page.heading("Augmentations of tokens", level=3)
    page.paragraph(
        "The same change made to pixels and to tokens, strong enough to be seen; the recipe's are weaker and rarer."
        + ("" if network is not None else " TokenAdapt (--method seitpp or mtm) brings the second row near the first.")
    )
    page.picture(labelled_grid(AugmentationPictures(tokenizer, tokens, network).panels()))


def add_segmentations(page: HtmlPage, plan: Plan) -> None:
    """Show pictures that the test has drawn: image, truth and prediction."""
    found = sorted(Path(plan.out, "score", "pictures").rglob("*.png"))
    entries = []
    for index in spread(len(found), 9):
        with Image.open(found[index]) as picture:
            entries.append((picture.copy(), f"sample {index}"))
    page.paragraph("Decoded tokens, the truth, and the prediction over them.")
    page.pictures(entries)


def _originals(plan: Plan, indices: np.ndarray) -> list[Image.Image] | None:
    """Open the validation images of store indices; None where indices do not tell the files."""
    if store_report(plan, "val")["num_unreadable"]:
        return None
    options = plan.facts["images"]["val"]
    try:
        source = open_image_source(options["source"], split=options.get("split"), root=options.get("root"))
        return [source.load(int(index), 3)[0] for index in indices]
    except (OSError, ValueError):  # the images are not there any more
        return None


def _beside(tiles: Sequence[Image.Image]) -> Image.Image:
    """Put pictures side by side at one height, small ones enlarged pixel by pixel."""
    scaled = []
    for tile in tiles:
        small = max(tile.size) < _SIDE
        size = (_SIDE, max(1, round(_SIDE * tile.height / tile.width)))
        scaled.append(tile.convert("RGB").resize(size, Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC))
    sheet = Image.new("RGB", (len(scaled) * (_SIDE + 4) - 4, max(tile.height for tile in scaled)), "white")
    for number, tile in enumerate(scaled):
        sheet.paste(tile, (number * (_SIDE + 4), 0))
    return sheet
