"""The part of a store's page on its codes: how often they occur, and what they look like."""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from seitpp.storage.code_usage import CodeUsage
from seitpp.storage.stats import entropy_bits
from seitpp.structures.indices import spread
from seitpp.visualization.store_page import TILE_PIXELS, StorePage
from seitpp.visualization.token_pictures import fitted, side_by_side, squared

_CODES_SHOWN = 16  # of the frequent, and of the rare ones
_SEARCHED = 1024  # samples, spread over the store, in which frequent codes are looked for
_OUTSIDE, _FRAME = 160, (230, 40, 40)  # grey beyond an image's border; colour around a code


def add_code_usage(store: StorePage, usage: CodeUsage) -> None:
    """Show how codes are used; of plain codes also the most frequent and the rarest ones that occur."""
    page, reader = store.page, store.reader
    page.heading("Use of codes")
    if reader.channels is not None:
        page.paragraph(
            f"A position has {reader.channels} integers; {usage.num_used:,} of {reader.codebook_size:,} values occur. "
            f"The entropy is {usage.entropy:.2f} bits per integer on average."
        )
        page.picture(_channel_chart(usage), alt="Entropy of each integer of a position")
        return
    counts, total = np.sort(usage.counts[0])[::-1], usage.counts.sum()
    page.table(
        ["", ""],
        [
            ("codes that occur", f"{usage.num_used:,} of {reader.codebook_size:,}"),
            ("entropy", f"{usage.entropy:.2f} bits per code (at most {np.log2(reader.codebook_size):.2f})"),
            ("perplexity", f"{usage.perplexity:,.1f}"),
            ("share of the most frequent code", f"{counts[0] / total:.1%}"),
            ("share of the ten most frequent", f"{counts[:10].sum() / total:.1%}"),
            ("codes rarer than a hundredth of the mean", f"{int((counts < total / len(counts) / 100).sum()):,}"),
        ],
    )
    page.picture(_rank_chart(counts), alt="How often codes occur, the most frequent first")
    used = np.argsort(-usage.counts[0], kind="stable")[: usage.num_used]
    frequent, rare = used[:_CODES_SHOWN], used[_CODES_SHOWN:][::-1][:_CODES_SHOWN]
    samples = spread(len(reader), _SEARCHED)
    searched = np.asarray(samples), reader.read(samples).reshape(len(samples), -1)
    for title, codes in (("Frequent codes", frequent), ("Rare codes", rare)):
        if len(codes):
            page.heading(title, level=3)
            _add_codes(store, codes, usage, searched)


def _add_codes(store: StorePage, codes: np.ndarray, usage: CodeUsage, searched: tuple[np.ndarray, np.ndarray]) -> None:
    """Show codes: decoded alone, then where they occur, in a frame with the tokens around."""
    captions = [f"{code}: {usage.counts[0, code] / usage.counts.sum():.3%}" for code in codes.tolist()]
    if store.pictures.decodes and not store.pictures.tokenizer.spatial:
        store.page.paragraph("Codes and their shares. They have no place in an image, and so no picture of their own.")
        store.page.table(["code"], [[caption] for caption in captions])
        return
    alone = store.pictures.patches(torch.from_numpy(codes.copy()))
    first = "" if alone is None else "what a grid of this code alone decodes to, and "
    store.page.paragraph(
        f"Of each code {first}where it occurs, framed, in up to three images; below its number and its share of all."
    )
    entries = []
    for number, code in enumerate(codes.tolist()):
        tiles = [] if alone is None else [fitted(alone[number][None], TILE_PIXELS)[0]]
        tiles += [_surroundings(store, *place) for place in _places(code, usage, *searched)]
        side = max(tile.shape[-1] for tile in tiles)
        entries.append((side_by_side(torch.stack([squared(tile, side) for tile in tiles])), captions[number]))
    store.page.pictures(entries)


def _places(code: int, usage: CodeUsage, samples: np.ndarray, tokens: np.ndarray) -> list[tuple[int, int]]:
    """Return samples and positions of a code: of samples spread over the store, or the first ones where it is rare."""
    has, most = np.flatnonzero((tokens == code).any(axis=1)), usage.examples.shape[1]
    if len(has) < most:
        return [(int(sample), int(position)) for sample, position in usage.examples[code] if sample >= 0]
    places = []
    for row in has[spread(len(has), most)]:
        positions = np.flatnonzero(tokens[row] == code)
        places.append((int(samples[row]), int(positions[len(positions) // 2])))
    return places


def _surroundings(store: StorePage, sample: int, position: int) -> Tensor:
    """Return a position of a sample in a frame, with one token on each side, (3, h, w); grey beyond the border."""
    image, (rows, columns) = store.image(sample), store.reader.grid
    high, wide = image.shape[-2] // rows, image.shape[-1] // columns
    padded = F.pad(image, (wide, wide, high, high), value=_OUTSIDE)
    row, column = divmod(position, columns)
    part = padded[:, row * high : (row + 3) * high, column * wide : (column + 3) * wide]
    tile = fitted(part[None], TILE_PIXELS)[0].contiguous()
    top, left = (side // 3 - 1 for side in tile.shape[-2:])
    bottom, right = (side - side // 3 for side in tile.shape[-2:])
    colour = torch.tensor(_FRAME, dtype=torch.uint8)[:, None]
    for line in (top, bottom):
        tile[:, line, left : right + 1] = colour
    for line in (left, right):
        tile[:, top : bottom + 1, line] = colour
    return tile


def _rank_chart(counts: np.ndarray) -> Figure:
    """Draw how often codes occur, the most frequent first, both axes logarithmic."""
    figure = Figure(figsize=(7, 3))
    axes = figure.add_subplot()
    shares = counts[counts > 0] / counts.sum()
    axes.plot(np.arange(1, len(shares) + 1), shares, marker="." if len(counts) < 100 else None)
    axes.axhline(1 / len(counts), color="grey", linestyle="--", linewidth=1, label="all codes alike")
    axes.set(xscale="log", yscale="log", xlabel="codes, the most frequent first", ylabel="share of all codes")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _channel_chart(usage: CodeUsage) -> Figure:
    """Draw the entropy of each integer of a position."""
    figure = Figure(figsize=(9, 3))
    axes = figure.add_subplot()
    axes.bar(range(len(usage.counts)), [entropy_bits(row) for row in usage.counts], width=1.0)
    axes.set(xlabel="integer of a position", ylabel="entropy in bits")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
