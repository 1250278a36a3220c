"""Images with label maps beside them, as ADE20k keeps them: `images/SPLIT/a.jpg` and `annotations/SPLIT/a.png`."""

from collections import Counter

from seitpp.ingest.sources.base import ImageSource, count_endings, described_endings, is_image_name
from seitpp.ingest.sources.files import join, list_files, read_file


class PairSource(ImageSource):
    """Each image has the label map of the same relative name, but for the ending.

    Args:
        images: Folder of the images.
        annotations: Folder of the label maps.
        classes: Class names in the order of their indices.
        reduce_zero_label: Whether 0 in a label map means "ignore" and classes start at 1, as in ADE20k.

    Raises:
        ValueError: There are no images, or an image or a label map is alone.
    """

    kind = "pairs"
    annotated = True

    def __init__(
        self, images: str, annotations: str, classes: list[str] | None = None, reduce_zero_label: bool = False
    ) -> None:
        self.images, self.annotations = images, annotations
        self.folders = (images, annotations)
        self.classes, self.reduce_zero_label = classes, reduce_zero_label
        found, found_maps = list_files(images), list_files(annotations)
        self.names = [name for name in found if is_image_name(name)]
        self.skipped = count_endings(name for name in found + found_maps if not is_image_name(name))
        if not self.names:
            kinds = f": {described_endings(self.skipped)}" if self.skipped else ""
            raise ValueError(f"{images} holds no images{kinds}")
        maps = {_stem(name): name for name in found_maps if is_image_name(name)}
        stems = [_stem(name) for name in self.names]
        if len(set(stems)) != len(stems):
            twice = next(stem for stem, count in Counter(stems).items() if count > 1)
            raise ValueError(f"{images} holds two images that differ in their ending alone: {twice}")
        if lonely := [name for name, stem in zip(self.names, stems, strict=True) if stem not in maps]:
            raise ValueError(
                f"{len(lonely)} images in {images} have no annotation in {annotations}, such as {lonely[0]}; expected "
                f"{_stem(lonely[0])}.png there"
            )
        if unused := sorted(maps.keys() - set(stems)):
            raise ValueError(
                f"{len(unused)} annotations in {annotations} have no image in {images}, such as {maps[unused[0]]}"
            )
        self._maps = [maps[stem] for stem in stems]

    def read(self, index: int) -> bytes:
        """Bytes of an image's file."""
        return read_file(join(self.images, self.names[index]))

    def read_annotation(self, index: int) -> bytes:
        """Bytes of an image's label map."""
        return read_file(join(self.annotations, self._maps[index]))


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.rpartition(".")[0]
