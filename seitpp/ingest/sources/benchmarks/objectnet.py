"""ObjectNet 1.0: photographs of objects, scored where their folder is mapped to classes of ImageNet."""

from seitpp.images.decoding import MAX_PIXELS
from seitpp.ingest.sources.base import is_image_name
from seitpp.ingest.sources.benchmarks.base import BenchmarkSource, check_classes
from seitpp.ingest.sources.benchmarks.model_classes import ModelClasses
from seitpp.ingest.sources.benchmarks.objectnet_mapping import FILES, read_mapping
from seitpp.ingest.sources.files import exists, is_folder, is_url, join, list_files, parent
from seitpp.ingest.sources.folders import FolderSource

_NUM_IMAGES, _NUM_FOLDERS, _NUM_INDICES = 18_574, 113, 125
_BORDER = 2  # pixels: the red frame is one wide, and JPEG smears it
_UNPACKED = "objectnet-1.0"


def open_objectnet(
    path: str,
    classes: ModelClasses,
    *,
    subset: bool,
    num_expected: int | None,
    split: str | None = None,
    root: str | None = None,
    classes_file: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> BenchmarkSource:
    """Open ObjectNet: 113 of its 313 folders, 18,574 images; any class of a folder's label is right.

    `path` holds `images` and `mappings`, or the folder `objectnet-1.0` with both; or it is the folder `images`, with
    `mappings` beside it.
    """
    for option, value in (("split", split), ("root", root)):
        if value is not None:
            raise ValueError(f"{path}: {option} means nothing for ObjectNet; leave it out")
    images, mappings = _locate(path)
    ids = classes.imagenet_ids("ObjectNet")
    mapping = read_mapping(mappings, len(ids))
    files = list_files(images)
    if not any(name.split("/", 1)[0] in mapping.indices for name in files):
        raise ValueError(
            f"{images} holds none of the {len(mapping.indices)} class folders that {mappings} maps to ImageNet, such "
            f"as {next(iter(mapping.indices))!r}"
        )
    source = FolderSource(images, files=files, leave_out=mapping.unmapped)
    source.max_pixels = max_pixels
    remarks = check_classes(source, images, list(mapping.indices), subset=subset)
    label_sets = {name: tuple(sorted(ids[index] for index in right)) for name, right in mapping.indices.items()}
    num_indices = len({index for right in label_sets.values() for index in right})
    if (len(label_sets), num_indices) != (_NUM_FOLDERS, _NUM_INDICES):
        remarks.append(
            f"{len(label_sets)} folders are mapped to {num_indices} classes, expected {_NUM_FOLDERS} and {_NUM_INDICES}"
        )
    return BenchmarkSource(
        source,
        label_sets,
        kind="objectnet",
        convention=f"any class of the label is right, {num_indices} classes in all",
        num_expected=_NUM_IMAGES if num_expected is None else num_expected,
        border=_BORDER,
        remarks=remarks,
        num_left_out=sum(is_image_name(name) and name.split("/", 1)[0] in mapping.unmapped for name in files),
    )


def _locate(root: str) -> tuple[str, str]:
    """Return the folders of the images and of the mapping files."""
    inner = join(root, _UNPACKED)
    places = [(join(base, "images"), join(base, "mappings")) for base in (inner, root)]
    above = parent(root.rstrip("/")) if is_url(root) else join(root, "..")
    places += [(root, join(above, "mappings"))]
    searched = [f"{images} with {mappings}" for images, mappings in places]
    for images, mappings in places:
        if is_folder(images) and is_folder(mappings):
            missing = [name for name in FILES if not exists(join(mappings, name))]
            if missing:
                raise FileNotFoundError(
                    f"{mappings} lacks {', '.join(missing)}; the files come with ObjectNet 1.0, take them from there"
                )
            return images, mappings
    raise FileNotFoundError(
        f"{root} does not hold ObjectNet: searched for {'; '.join(searched)}. Unpack the archive of "
        "ObjectNet 1.0 and name its folder"
    )
