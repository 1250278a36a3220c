"""Pictures of a report: reconstructions, mistakes, what MTM fills in, augmentations, segmentations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from seitpp.augment import TokenAdaptAugment
from seitpp.datasets import TokenDataset
from seitpp.evaluation.class_scores import worst_rows
from seitpp.evaluation.predictions import Predictions
from seitpp.ingest import open_image_source
from seitpp.ingest.fitting import spread
from seitpp.io.checkpoint import load_checkpoint_file, state_dict_of
from seitpp.io.config_file import read_config
from seitpp.registry import MODELS
from seitpp.storage import StoreReader
from seitpp.tokenizers import Tokenizer, tokenizer_from_store
from seitpp.visualization.augmentations import AugmentationPictures
from seitpp.visualization.page import HtmlPage
from seitpp.visualization.pictures import PicturePanel, PictureRow, labelled_grid
from seitpp.workflow.planning import Plan

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
    codes = StoreReader(Path(plan.out, "tokens", "val")).read([0])[0]
    page.paragraph("The tokenizer has no decoder, so its tokens cannot be shown as pictures. The codes of one image:")
    page.code("\n".join(" ".join(f"{code:>5}" for code in np.atleast_1d(row).ravel()) for row in codes))


def add_mistakes(page: HtmlPage, plan: Plan, predictions: Predictions) -> None:
    """Show the validation images whose wrong class has the highest score, beside their decoded tokens."""
    rows = worst_rows(predictions, _MOST_MISTAKES)
    if not len(rows):
        page.paragraph("There are none: all validation images are classified right.")
        return
    reader = StoreReader(Path(plan.out, "tokens", "val"))
    indices = predictions.store_indices[rows]
    originals, decoded = _originals(plan, indices), _decoded(plan, reader, indices)
    names, shares = predictions.class_names, np.take(predictions.scores, rows, axis=0)
    entries = []
    for number, row in enumerate(rows):
        truth, said = predictions.labels[row], predictions.predicted[row]
        tiles = [tiles[number] for tiles in (originals, decoded) if tiles is not None]
        caption = (
            f"{names[truth]}, taken for {names[said]} ({shares[number, said]:.0%}; {names[truth]} "
            f"{shares[number, truth]:.0%})"
        )
        entries.append((_beside(tiles), caption) if tiles else None)
    if any(entry is None for entry in entries):
        page.table(
            ["image", "class", "taken for", "score"],
            [
                (predictions.name_of(row), names[predictions.labels[row]], names[predictions.predicted[row]], share)
                for row, share in zip(rows, shares.max(axis=1), strict=True)
            ],
        )
        return
    beside = " Left the image, right what its tokens show." if originals is not None and decoded is not None else ""
    page.paragraph(f"The network was surest of these wrong answers.{beside} Are some labels wrong?")
    page.pictures(entries)


def add_filled_in(page: HtmlPage, plan: Plan) -> None:
    """Show validation images, what MTM sees of them, and what it fills in."""
    reader = StoreReader(Path(plan.out, "tokens", "val"))
    tokenizer = tokenizer_from_store(reader).eval()
    indices = spread(len(reader), _COLUMNS)
    config = read_config(Path(plan.out, "configs", "mtm.py"))
    config.data_preprocessor.pop("augments", None)
    model = MODELS.build(dict(config.model, data_preprocessor=config.data_preprocessor)).eval()
    checkpoint = next(step.output for step in plan.steps if step.name == "mtm")
    model.load_state_dict(state_dict_of(load_checkpoint_file(checkpoint), checkpoint))
    codes = torch.from_numpy(reader.read(indices).astype(np.int64))
    with torch.no_grad():
        batch = model.data_preprocessor({"inputs": codes, "sample_idx": torch.tensor(indices)})
        masks = model.eval_masks(batch["data_samples"], codes.device)
        hidden = masks.mask.view(len(codes), 1, *model.backbone.patch_resolution).float()
        decoded = tokenizer.to_bytes(tokenizer.decode(codes))
        hidden = torch.nn.functional.interpolate(hidden, decoded.shape[-2:]).bool()
        filled = tokenizer.to_bytes(tokenizer.decode(model.reconstruct(codes, masks)))
    rows = {"decoded tokens": decoded, "what MTM sees": decoded.masked_fill(hidden, 128), "what it fills in": filled}
    shown = [PictureRow(label, "", images) for label, images in rows.items()]
    page.picture(
        labelled_grid([PicturePanel("", shown)], titles=False), "Hidden tokens of validation images, filled in."
    )


def add_augmentations(page: HtmlPage, plan: Plan) -> None:
    """Show what augmentations make of a few training images, through TokenAdapt where one was trained."""
    reader = StoreReader(Path(plan.out, "tokens", "train"))
    tokenizer = tokenizer_from_store(reader).eval()
    if not tokenizer.spatial:
        return
    indices = spread(len(reader), 6)
    tokens = torch.from_numpy(reader.read(indices).astype(np.int64))
    network = _token_adapt(plan, reader, tokenizer) if plan.lengths.tokenadapt else None
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


def _token_adapt(plan: Plan, reader: StoreReader, tokenizer: Tokenizer) -> Any:
    model = read_config(Path(plan.out, "configs", "tokenadapt.py")).model
    checkpoint = next(step.output for step in plan.steps if step.name == "tokenadapt")
    augment = TokenAdaptAugment(model.token_adapt.to_dict(), checkpoint)
    dataset = TokenDataset(str(reader.path))
    augment.prepare(dataset.metainfo, str(reader.path), tokenizer.codebook, reader.codebook_sha256)
    return augment.load()


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


def _decoded(plan: Plan, reader: StoreReader, indices: np.ndarray) -> list[Image.Image] | None:
    if not plan.facts["can_decode"]:
        return None
    tokenizer = tokenizer_from_store(reader).eval()
    tokens = torch.from_numpy(reader.read(indices).astype(np.int64))
    with torch.no_grad():
        images = tokenizer.to_bytes(tokenizer.decode(tokens)).expand(-1, 3, -1, -1)
    return [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]


def _beside(tiles: list[Image.Image]) -> Image.Image:
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
