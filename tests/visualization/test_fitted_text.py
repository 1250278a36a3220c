"""Names that stay inside of pictures."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import ImageFont

from seitpp.visualization.fitted_text import fitted, name_in_lines
from seitpp.visualization.label_pictures import segmentation_picture
from seitpp.visualization.pictures import PicturePanel, PictureRow, labelled_grid

FONT = ImageFont.load_default(12)
LONG = "Supercalifragilisticexpialidocious birds of the north"


@pytest.mark.parametrize("text", [LONG, "a " * 40, "x" * 90, "cat", ""])
@pytest.mark.parametrize("most_lines", [1, 3])
def test_text_fits_its_place(text: str, most_lines: int) -> None:
    lines = fitted(text, FONT, 90, most_lines).split("\n")
    assert len(lines) <= most_lines and all(FONT.getlength(line) <= 90 for line in lines)
    kept = "".join(lines).replace(" ", "")
    assert kept == text.replace(" ", "") or kept.removesuffix("...") == text.replace(" ", "")[: len(kept) - 3]


def test_lines_end_between_words() -> None:
    assert fitted("tokens without TokenAdapt", FONT, 90, 3) == "tokens without\nTokenAdapt"


def margin_is_white(picture: np.ndarray) -> bool:
    return bool((picture[:, 0] == 255).all() and (picture[:, -1] == 255).all())


def test_long_labels_leave_margins_in_panels_and_legends() -> None:
    images = torch.zeros(1, 3, 8, 96, dtype=torch.uint8)
    rows = [PictureRow(LONG.replace(" ", "-"), "", images), PictureRow(LONG, "", images)]
    drawn = np.asarray(labelled_grid([PicturePanel(LONG, rows)]))
    assert margin_is_white(drawn)
    assert (drawn[44 + 19 : 44 + 19 + 4, :136] == 255).all()  # between the rows
    labels = torch.zeros(64, 64, dtype=torch.long)
    picture = np.asarray(segmentation_picture(images[0], labels, [LONG * 3], [[9, 9, 9]]))
    assert margin_is_white(picture[picture.shape[0] - 18 :])


@pytest.mark.parametrize("size", [(224, 224), (256, 600), (300, 256)])
def test_names_of_predictions_stay_in_the_picture(size: tuple[int, int]) -> None:
    sample = DataSample().set_pred_label(torch.tensor([3])).set_pred_score(torch.tensor([0, 0, 0, 0.98]))
    drawn = UniversalVisualizer().visualize_cls(
        np.full((*size, 3), 90, np.uint8), sample, classes={3: name_in_lines(LONG, *size)}, draw_gt=False
    )
    assert (drawn[:, -1] == 90).all()  # not reached by the box around the text
    assert name_in_lines("cat", *size) == "cat"
