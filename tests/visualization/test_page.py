"""`seitpp.visualization.page`: what stands in the file, escaped and whole, and which images it takes."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from seitpp.visualization.page import HtmlPage

HOSTILE = '<script>alert("1")</script> & \udcff'
ESCAPED = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; ?"


def images_of(page: HtmlPage) -> list[Image.Image]:
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', page.render())
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def test_all_text_is_escaped() -> None:
    page = HtmlPage(HOSTILE, HOSTILE)
    page.heading(HOSTILE)
    page.paragraph(HOSTILE)
    page.code(HOSTILE)
    page.definitions([(HOSTILE, HOSTILE)])
    page.table([HOSTILE], [[HOSTILE]])
    page.picture(torch.zeros(3, 4, 4, dtype=torch.uint8), HOSTILE)
    text = page.render()
    assert "<script" not in text
    assert text.count(ESCAPED) == 12  # title and caption twice: in the head, and as the text of the picture


def test_file_is_self_contained_and_written_whole(tmp_path: Path) -> None:
    page = HtmlPage("Title")
    page.picture(np.zeros((4, 4), np.uint8))
    page.write(tmp_path / "new" / "page.html")
    text = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert text == page.render() and [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    assert "://" not in text and "<script" not in text and text.count("src=") == 1
    assert '<html lang="en">' in text and "width=device-width" in text and "prefers-color-scheme: dark" in text


def test_table_aligns_columns_of_numbers_and_formats_cells() -> None:
    page = HtmlPage("Title")
    page.table(
        ["name", "count", "share"], [["a 1", 1234567, 0.123456], ["b", None, "12.5 %"], ["c", np.int64(3), 1e-9]]
    )
    rows = re.findall("<tr>(.*?)</tr>", page.render())
    assert rows[1] == '<td>a 1</td><td class="number">1,234,567</td><td class="number">0.1235</td>'
    assert rows[2] == '<td>b</td><td class="number">-</td><td class="number">12.5 %</td>'
    assert rows[3] == '<td>c</td><td class="number">3</td><td class="number">1e-09</td>'
    assert rows[0].count('scope="col"') == 3


def test_row_of_another_length_than_the_header_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of the table has 1 cells, the header 2"):
        HtmlPage("Title").table(["a", "b"], [["1", "2"], ["3"]])


def test_tensors_arrays_and_pil_images_are_shown_alike() -> None:
    values = torch.randint(256, (3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    page = HtmlPage("Title")
    page.pictures([(values, "a"), (values.numpy(), "b"), (Image.fromarray(values.permute(1, 2, 0).numpy()), "c")])
    page.pictures([(values[:1], "grey"), (values[0], "grey")])
    shown = images_of(page)
    assert all(np.array_equal(np.asarray(image).transpose(2, 0, 1), values) for image in shown[:3])
    assert all(np.array_equal(np.asarray(image), values[0]) for image in shown[3:])


def test_small_pictures_are_enlarged_by_whole_pixels_and_large_ones_not() -> None:
    page = HtmlPage("Title")
    page.pictures([(np.zeros((8, 28), np.uint8), "small"), (np.zeros((8, 100), np.uint8), "large")])
    assert re.findall(r'<img( class="crisp")? alt="\w+" width="(\d+)" height="(\d+)"', page.render()) == [
        (' class="crisp"', "112", "32"),
        ("", "100", "8"),
    ]


def test_lossy_pictures_are_jpeg_but_small_ones_keep_their_pixels() -> None:
    noise = np.random.default_rng(0).integers(256, size=(3, 100, 100), dtype=np.uint8)
    page = HtmlPage("Title")
    page.picture(noise, lossy=True)
    page.picture(noise[:, :8, :8], lossy=True)
    assert [image.format for image in images_of(page)] == ["JPEG", "PNG"]


def test_figures_are_drawn_sharper_than_they_are_shown() -> None:
    page = HtmlPage("Title")
    page.picture(Figure(figsize=(4, 2)), alt="Empty chart")
    (drawn,) = images_of(page)
    width = int(re.search(r'<img alt="Empty chart" width="(\d+)"', page.render())[1])
    assert width == round(drawn.width / 1.44)


def test_names_in_scripts_that_the_font_lacks_are_no_warning() -> None:
    figure = Figure(figsize=(2, 1))
    figure.suptitle("猫")
    page = HtmlPage("Title")
    page.picture(figure, "猫")
    assert "猫</figcaption>" in page.render()


def test_pictures_without_caption_have_a_text_all_the_same() -> None:
    page = HtmlPage("Title")
    page.picture(np.zeros((4, 4), np.uint8))
    assert 'alt="Picture"' in page.render() and "<figcaption" not in page.render()


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.zeros((3, 0, 4), np.uint8), torch.zeros(1, 3, 4, 4)]
)
def test_what_is_no_image_is_refused(image: object) -> None:
    with pytest.raises(ValueError, match=r"a picture is \w+ of shape .*, expected uint8 \(3, H, W\)"):
        HtmlPage("Title").picture(image)


def test_long_pages_open_with_contents() -> None:
    page = HtmlPage("Title")
    for number in range(4):
        assert "<nav" not in page.render()
        page.heading(f"Part {number}")
        page.heading("Detail", level=3)
    assert re.findall('<a href="#(.*?)">(.*?)</a>', page.render()) == [
        (f"section-{n + 1}", f"Part {n}") for n in range(4)
    ]
    assert '<h2 id="section-4">Part 3</h2>' in page.render() and page.render().count("<li>") == 4


def test_level_of_the_title_is_refused() -> None:
    with pytest.raises(ValueError, match="level of a heading is 1, expected 2 to 6"):
        HtmlPage("Title").heading("a", level=1)
