"""The part of a store's page on what occurs twice: duplicates within it, and leaks between it and another."""

import numpy as np
import torch

from seitpp.io.text import shorten
from seitpp.storage.duplicates import Duplicates
from seitpp.structures.indices import spread
from seitpp.visualization.store_page import StorePage
from seitpp.visualization.token_pictures import side_by_side

_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)  # of the positions, that tables list
_EQUAL_PAIRS, _SIMILAR_PAIRS, _OTHER_LABELS = 8, 16, 16  # shown at most
_GROUPS, _IN_GROUP = 10, 8
_FEW_CROWDED = 0.001


def shown_distances(found: Duplicates) -> list[int]:
    """Return the distances that tables and JSON list, up to the largest that was looked for."""
    distances = {int(share * found.num_positions + 1e-9) for share in _SHARES}
    return sorted({one for one in distances if one < found.max_distance} | {found.max_distance})


def add_duplicates(found: Duplicates, store: StorePage, other: StorePage | None = None) -> None:
    """Show equal and similar samples of a store, or those of another that are in the store, too."""
    page, pairs = store.page, found.pairs()
    total, within = found.num_samples[-1], found.num_within(found.max_distance)
    page.heading("Duplicates" if other is None else f"Leaks between {store.name} and {other.name}")
    whose, where = ("images of the store", "another one") if other is None else (f"images of {other.name}", store.name)
    page.paragraph(
        f"{within:,} of {total:,} {whose} differ from {'' if other is None else 'one in '}{where} at no more than "
        f"{found.max_distance:,} of {found.num_positions:,} positions; {found.num_within(0):,} have the same tokens as "
        f"{'another one' if other is None else 'one there'}. {_how_found(found)}"
    )
    rows = []
    for distance in shown_distances(found):
        number, share = found.num_within(distance), distance / found.num_positions
        rows.append((str(distance), f"{share:.1%}", number, f"{number / total:.2%}", f"{found.recall(distance):.1%}"))
    page.table(["positions that differ, at most", "of all", "images", "share", "pairs at this distance found"], rows)
    if len(pairs):
        _add_pairs(found, pairs, store, other)
    if other is None:
        _add_groups(found, store)


def _how_found(found: Duplicates) -> str:
    if found.bands is None:
        return "All pairs were compared."
    text = (
        f"What agrees on one of {found.bands.count} random choices of {found.bands.size} positions was compared; the "
        "last column says which part of the pairs at a distance this finds."
    )
    if found.crowded <= _FEW_CROWDED:
        return text
    missed = (
        "they are in their group, perhaps not with the nearest one."
        if len(found.num_samples) == 1
        else "a leak may be missed among them."
    )
    return f"{text} {found.crowded:.1%} of the images stand in crowds of similar ones, where each meets some: {missed}"


def _add_pairs(found: Duplicates, pairs: np.ndarray, store: StorePage, other: StorePage | None) -> None:
    equal = int((pairs[:, 2] == 0).sum())
    parts = [("Pairs with the same tokens", pairs[:equal], _EQUAL_PAIRS)]
    parts.append(("Similar pairs", pairs[equal:], _SIMILAR_PAIRS))
    second, start = _second(found, store, other)
    if store.labels is not None and second.labels is not None:
        names = [
            _class_names(one, labels)
            for one, labels in ((store, store.labels[pairs[:, 0]]), (second, second.labels[pairs[:, 1] - start]))
        ]
        differ = names[0] != names[1]
        store.page.paragraph(f"{int(differ.sum()):,} of {len(pairs):,} pairs have different labels.")
        parts.insert(0, ("Pairs with different labels", pairs[differ], _OTHER_LABELS))
    for title, part, most in parts:
        if not len(part):
            continue
        store.page.heading(title, level=3)
        if len(part) > most:
            store.page.paragraph(f"{most} of {len(part):,}, evenly spread from the nearest to the farthest.")
        chosen = part[spread(len(part), most)]
        left, right = store.tiles(chosen[:, 0].tolist()), second.tiles((chosen[:, 1] - start).tolist())
        entries = [
            (side_by_side(torch.stack([left[row], right[row]])), _pair_caption(found, pair, store, other))
            for row, pair in enumerate(chosen.tolist())
        ]
        store.page.pictures(entries, lossy=store.is_photographic)


def _add_groups(found: Duplicates, store: StorePage) -> None:
    groups = [group for group in found.groups() if len(group) > 2]
    if not groups:
        return
    store.page.heading("Groups", level=3)
    largest = "" if len(groups) <= _GROUPS else f" The {_GROUPS} largest:"
    store.page.paragraph(
        f"{len(groups):,} groups of three or more images, {sum(map(len, groups)):,} in all, are connected by pairs, "
        f"each image by one to another.{largest}"
    )
    chosen = [group[spread(len(group), _IN_GROUP)].tolist() for group in groups[:_GROUPS]]
    sizes = {row[0]: len(group) for row, group in zip(chosen, groups, strict=False)}
    store.add_rows(chosen, lambda row: f"{sizes[row[0]]:,} images, such as {shorten(map(str, row))}")


def _second(found: Duplicates, store: StorePage, other: StorePage | None) -> tuple[StorePage, int]:
    """Return the store of the second sample of pairs, and the number of its first sample in them."""
    return (store, 0) if other is None else (other, found.num_samples[0])


def _pair_caption(found: Duplicates, pair: list[int], store: StorePage, other: StorePage | None) -> str:
    one, two, distance = pair
    second, start = _second(found, store, other)
    parts = []
    for part, number in ((store, one), (second, two - start)):
        name, of = part.class_of(number), "" if other is None else f"{part.name} "
        parts.append(f"{of}{number}" if name is None else f"{of}{number} ({name})")
    differ = "the same tokens" if distance == 0 else f"{distance:,} of {found.num_positions:,} differ"
    return f"{' and '.join(parts)}: {differ}"


def _class_names(store: StorePage, labels: np.ndarray) -> np.ndarray:
    """Return the names of class indices, or these where there are none."""
    known = [store.class_name(index) for index in range(int(labels.max(initial=-1)) + 1)]
    return np.array(known, object)[labels]
