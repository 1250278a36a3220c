"""Text that stays inside its place in a picture: broken into lines, and cut where there is no room for more."""

import textwrap

from PIL import ImageFont

_ELLIPSIS = "..."  # which every font has
# Of mmpretrain's visualizer: pixels of a character per point of its font, and characters before and after a name.
_CHARACTER_PIXELS, _BEFORE_NAME = 0.87, 24


def fitted(text: str, font: ImageFont.FreeTypeFont, width: float, most_lines: int = 1) -> str:
    """Break text into at most `most_lines` lines of at most `width` pixels.

    Lines end between words where they can. A word that is wider than a line is broken, and what does not fit into the
    last line is cut off, with an ellipsis in its place.
    """
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width:
            lines[-1] = joined
            continue
        while font.getlength(word) > width and len(word) > 1:
            kept = _beginning(word, font, width)
            lines.append(kept)
            word = word[len(kept) :]
        lines.append(word)
    if len(lines) > most_lines:
        last = lines[most_lines - 1]
        room = width - font.getlength(_ELLIPSIS)
        if font.getlength(last) > room:
            last = _beginning(last, font, room)
        lines = [*lines[: most_lines - 1], f"{last.rstrip()}{_ELLIPSIS}"]
    return "\n".join(lines)


def _beginning(word: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Return as many characters, at least one, as a line holds."""
    count = 1
    while count < len(word) and font.getlength(word[: count + 1]) <= width:
        count += 1
    return word[:count]


def name_in_lines(name: str, height: int, width: int) -> str:
    """Return a class name as mmpretrain's visualizer shows it whole in a picture of that many pixels.

    The visualizer writes number, score and name into one line; a name for which that has no room stands in lines below.
    """
    from mmpretrain.visualization.utils import get_adaptive_scale

    scale = get_adaptive_scale((height, width))
    characters = int((width - 10 * scale) / (_CHARACTER_PIXELS * int(7 * scale) + 1e-9))
    if len(name) + _BEFORE_NAME <= characters:
        return name
    return "\n" + "\n".join(textwrap.wrap(name, max(characters - 1, 8), max_lines=4, placeholder=_ELLIPSIS))
