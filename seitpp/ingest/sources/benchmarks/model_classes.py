"""Which index a classifier has for a class folder, or for a class of ImageNet."""

from collections import Counter
from collections.abc import Sequence

from seitpp.ingest.sources.benchmarks.imagenet_r_classes import IMAGENET_R_CLASSES
from seitpp.io.text import shorten
from seitpp.structures.class_names import is_wordnet_order

NUM_IMAGENET = 1000
_REMEDY = (
    "give the names of the model's classes in a file (--classes FILE, or the option classes_file), one WordNet id per "
    "line in their order"
)


class ModelClasses:
    """The classes of a model by name; without names they are ImageNet's 1000 in WordNet order.

    mmpretrain's list of English names for these classes counts as no names.

    Raises:
        ValueError: There are none, they are one text, or a name occurs twice.
    """

    def __init__(self, names: Sequence[str] | None) -> None:
        if isinstance(names, str) or (names is not None and not len(names)):
            raise ValueError(f"classes are {names!r}, expected the names of the model's classes in their order")
        self.names = None if names is None or _are_english(names) else [str(name) for name in names]
        if twice := [name for name, count in Counter(self.names or ()).items() if count > 1]:
            raise ValueError(f"the model has classes of the same name: {shorten(map(repr, twice), 4)}; {_REMEDY}")
        self._index = {name: number for number, name in enumerate(self.names or ())}

    def __contains__(self, name: str) -> bool:
        return name in self._index

    def index(self, name: str) -> int:
        """Return the index of a class that the model has by this name."""
        return self._index[name]

    def imagenet_ids(self, needed_by: str) -> list[int]:
        """Return the model's index of each of ImageNet's 1000 classes in WordNet order.

        Raises:
            ValueError: The model has other classes; `needed_by` is the set that cannot be scored with them.
        """
        if self.names is None:
            return list(range(NUM_IMAGENET))
        names = sorted(self.names)
        if len(names) != NUM_IMAGENET or not is_wordnet_order(names) or misplaced(names):
            raise ValueError(
                f"{needed_by} needs a model of ImageNet's {NUM_IMAGENET} classes, and this one has {len(names)}: "
                f"{shorten(map(repr, self.names), 4)}. Where they are the same classes, {_REMEDY}"
            )
        return [self._index[name] for name in names]

    def numbered(self, folders: Sequence[str], where: str) -> dict[str, int]:
        """Return the index of each folder of ImageNet's classes, all 1000, for a model without names."""
        folders = sorted(folders)
        wrong = misplaced(folders) if len(folders) == NUM_IMAGENET and is_wordnet_order(folders) else None
        if len(folders) != NUM_IMAGENET or not is_wordnet_order(folders) or wrong:
            found = wrong or f"{len(folders)} folders: {shorten(map(repr, folders), 4)}"
            raise ValueError(
                f"{where}: the model's classes have no names, so folders are numbered in WordNet order, for which all "
                f"of ImageNet's {NUM_IMAGENET} classes must be there; found {found}. For other sets, {_REMEDY}"
            )
        return {name: number for number, name in enumerate(folders)}


def misplaced(names: Sequence[str]) -> str | None:
    """Say which class stands where it does not in ImageNet's 1000 names in order, judged by those of ImageNet-R."""
    for name, index in IMAGENET_R_CLASSES.items():
        if names[index] != name:
            return f"{names[index]!r} as class {index}, expected {name!r}"
    return None


def _are_english(names: Sequence[str]) -> bool:
    """Whether names are mmpretrain's of ImageNet's classes; its package is imported for as many names alone."""
    if len(names) != NUM_IMAGENET or is_wordnet_order(sorted(map(str, names))):
        return False
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

    return list(names) == list(IMAGENET_CATEGORIES)
