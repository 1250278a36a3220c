"""One HTML file that needs no other: text, tables and pictures for people, on a screen of any size, light or dark."""

import base64
import html
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seitpp.io.atomic_write import write_whole

_MIN_PIXELS = 96  # smaller pictures are shown enlarged, pixel by pixel
_FIGURE_DPI = 144  # of figures, which are shown at matplotlib's usual 100 per inch: sharp on dense screens
_JPEG_QUALITY = 90
_MIN_CONTENTS = 4  # headings of level 2 from which on a list of them opens the page
_NUMBER = re.compile(r"[-+±]?[\d.,]+(e[-+]?\d+)?( ?%| [a-zA-Z]{1,3})?|-|")


class HtmlPage:
    """Collects headings, text, tables and pictures, and writes them as one self-contained file.

    All text is escaped: names of files and classes may hold anything. Images are tensors or arrays (3, H, W), (1, H, W)
    or (H, W), uint8, PIL images, or matplotlib figures; small ones are enlarged with their pixels visible.

    Args:
        title: Of the page, its heading of level 1.
        summary: A paragraph below it.
    """

    def __init__(self, title: str, summary: str = "") -> None:
        self.title = title
        self._parts: list[str] = []
        self._sections: list[str] = []  # headings of level 2
        if summary:
            self.paragraph(summary)

    def heading(self, text: str, level: int = 2) -> None:
        """Add a heading of level 2 to 6; the contents at the top list those of level 2."""
        if not 2 <= level <= 6:
            raise ValueError(f"level of a heading is {level}, expected 2 to 6 (1 is the page's title)")
        anchor = ""
        if level == 2:
            self._sections.append(text)
            anchor = f' id="section-{len(self._sections)}"'
        self._parts.append(f"<h{level}{anchor}>{_escaped(text)}</h{level}>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self._parts.append(f"<p>{_escaped(text)}</p>")

    def code(self, text: str) -> None:
        """Add text in a fixed-width font with its lines as they are: commands, configs, logs."""
        self._parts.append(f'<pre tabindex="0"><code>{_escaped(text)}</code></pre>')

    def definitions(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add terms, each with its explanation."""
        entries = "".join(f"<dt>{_escaped(term)}</dt><dd>{_escaped(text)}</dd>" for term, text in pairs)
        self._parts.append(f"<dl>{entries}</dl>")

    def table(self, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Add a table; columns of numbers are aligned at the right, and a wide table scrolls.

        Cells are text, or numbers: integers get commas between thousands, floats four digits; None is a dash.
        """
        body = [[_cell(value) for value in row] for row in rows]
        for row in body:
            if len(row) != len(header):
                raise ValueError(f"a row of the table has {len(row)} cells, the header {len(header)}: {row}")
        numeric = [bool(body) and all(_NUMBER.fullmatch(text) for text in column) for column in zip(*body, strict=True)]
        attributes = [' class="number"' if is_number else "" for is_number in numeric or [False] * len(header)]

        def line(texts: Iterable[str], tag: str, extra: str = "") -> str:
            cells = zip(texts, attributes, strict=True)
            return f"<tr>{''.join(f'<{tag}{extra}{given}>{_escaped(text)}</{tag}>' for text, given in cells)}</tr>"

        head = line(header, "th", ' scope="col"') if any(header) else ""
        lines = "\n".join(line(row, "td") for row in body)
        self._parts.append(
            f'<div class="scroll" tabindex="0"><table><thead>{head}</thead>\n<tbody>\n{lines}\n</tbody></table></div>'
        )

    def picture(self, image: Any, caption: str = "", *, alt: str = "", lossy: bool = False) -> None:
        """Add one picture.

        Args:
            image: See the class.
            caption: Text below it.
            alt: What a reader who cannot see the picture needs to know; by default its caption.
            lossy: Embed JPEG in place of PNG: a tenth of the bytes, for photographs.
        """
        self._parts.append(_figure(image, caption, alt, lossy))

    def pictures(self, entries: Iterable[tuple[Any, str]], *, lossy: bool = False) -> None:
        """Add pictures with captions side by side, as many in a line as the screen has room for."""
        self._parts.append(
            f'<div class="grid">{"".join(_figure(image, caption, "", lossy) for image, caption in entries)}</div>'
        )

    def render(self) -> str:
        """Return the whole page."""
        contents = ""
        if len(self._sections) >= _MIN_CONTENTS:
            links = enumerate(self._sections, start=1)
            items = "".join(f'<li><a href="#section-{number}">{_escaped(text)}</a></li>' for number, text in links)
            contents = f'<nav aria-label="Contents"><ul>{items}</ul></nav>\n'
        return _PAGE.format(title=_escaped(self.title), contents=contents, body="\n".join(self._parts))

    def write(self, path: str | Path) -> None:
        """Write the page; a reader sees the whole of it, or what was there before."""
        write_whole(path, self.render().encode("utf-8"))


def _escaped(text: Any) -> str:
    """Escape text for HTML; half characters of undecodable file names become question marks."""
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def _figure(image: Any, caption: str, alt: str, lossy: bool) -> str:
    """Return an image as a figure of HTML with its bytes in it."""
    is_chart = hasattr(image, "savefig")
    file = io.BytesIO()
    if is_chart:
        with warnings.catch_warnings():  # names in scripts that the font lacks are boxes
            warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
            image.savefig(file, format="png", dpi=_FIGURE_DPI, bbox_inches="tight")
        with Image.open(file) as drawn:
            width, height = (round(size * 100 / _FIGURE_DPI) for size in drawn.size)
        crisp, kind = "", "png"
    else:
        picture = as_pil_image(image)
        zoom = max(1, -(-_MIN_PIXELS // max(picture.size)))
        width, height = (zoom * size for size in picture.size)
        crisp, kind = ' class="crisp"' if zoom > 1 else "", "jpeg" if lossy and zoom == 1 else "png"
        if kind == "jpeg":
            picture.convert("RGB").save(file, format="jpeg", quality=_JPEG_QUALITY)
        else:
            picture.save(file, format="png", optimize=True)
    source = f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    below = f'<figcaption style="max-width: {max(width, _MIN_PIXELS)}px">{_escaped(caption)}</figcaption>'
    return (
        f'<figure><img{crisp} alt="{_escaped(alt or caption or "Picture")}" width="{width}" height="{height}" '
        f'src="{source}">{below if caption else ""}</figure>'
    )


def as_pil_image(image: Image.Image | Tensor | np.ndarray) -> Image.Image:
    """Return an image as PIL's; a tensor or array is (3, H, W), (1, H, W) or (H, W), uint8, else a `ValueError`."""
    if isinstance(image, Image.Image):
        return image
    values = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    is_image = values.ndim == 2 or (values.ndim == 3 and values.shape[0] in (1, 3))
    if values.dtype != np.uint8 or not is_image or 0 in values.shape:
        raise ValueError(
            f"a picture is {values.dtype} of shape {values.shape}, expected uint8 (3, H, W), (1, H, W) or (H, W), a "
            "PIL image or a matplotlib figure"
        )
    if values.ndim == 3:
        values = values.transpose(1, 2, 0) if len(values) == 3 else values[0]
    return Image.fromarray(np.ascontiguousarray(values))


# No script, and nothing from elsewhere: the policy says so to the browser, too.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ --text: #1b1f24; --page: #fff; --faint: #57606a; --line: #d0d7de; --box: #f3f5f7; --link: #0550ae }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e2e6ea; --page: #15191e; --faint: #9aa4af; --line: #3a424c; --box: #20262d; --link: #79b8ff }}
}}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 76em; padding: 1em clamp(0.75em, 3vw, 2em) 4em; color: var(--text);
  background: var(--page); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }}
h1 {{ font-size: 1.7em; line-height: 1.2 }}
h2 {{ font-size: 1.3em; margin: 2em 0 0.5em; padding-top: 0.6em; border-top: 1px solid var(--line) }}
h3 {{ font-size: 1.05em; margin: 1.4em 0 0.4em }}
p, dl {{ max-width: 50em }}
a {{ color: var(--link) }}
nav ul {{ display: flex; flex-wrap: wrap; gap: 0.2em 1.2em; margin: 1em 0; padding: 0; list-style: none }}
.scroll {{ overflow-x: auto; margin: 1em 0 }}
table {{ border-collapse: collapse; overflow-wrap: normal; font-variant-numeric: tabular-nums }}
th, td {{ padding: 0.25em 0.8em; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }}
th:first-child, td:first-child {{ padding-left: 0 }}
th {{ vertical-align: bottom }}
@media (max-width: 40em) {{ table {{ font-size: 0.875em }} }}
.number {{ text-align: right; white-space: nowrap }}
pre {{ overflow-x: auto; padding: 0.8em 1em; border-radius: 4px; background: var(--box); font-size: 0.85em }}
figure {{ margin: 1em 0 }}
img {{ display: block; max-width: 100%; height: auto; background: #fff }}
.crisp {{ image-rendering: pixelated }}
figcaption {{ margin-top: 0.3em; color: var(--faint); font-size: 0.85em; line-height: 1.35 }}
.grid {{ display: flex; flex-wrap: wrap; gap: 1em; margin: 1em 0 }}
.grid figure {{ margin: 0; max-width: 100% }}
dt {{ font-weight: 600; margin-top: 0.6em }}
dd {{ margin: 0 0 0 1.5em }}
</style>
</head>
<body>
<h1>{title}</h1>
{contents}{body}
</body>
</html>
"""
