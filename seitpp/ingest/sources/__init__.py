"""Where images come from: class folders, lists, pairs with label maps, tar files, arrays, OpenMMLab data sets."""

from seitpp.ingest.sources.array_files import array_splits
from seitpp.ingest.sources.base import ImageSource
from seitpp.ingest.sources.labels import read_class_names
from seitpp.ingest.sources.opening import open_image_source

__all__ = ["ImageSource", "array_splits", "open_image_source", "read_class_names"]
