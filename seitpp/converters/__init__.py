"""Released checkpoints to ours and back, one name table a release."""

from seitpp.converters.seitpp_release import LAYOUTS, Layout, from_release, grid_sides, to_release
from seitpp.converters.tokenizer_files import (
    Conversion,
    convert_tokenizer,
    export_tokenizer,
    read_codebook,
    read_published,
    weight_entries,
)
from seitpp.converters.tokenizers import PRESETS, Converted, Preset, from_published, readable, to_published

__all__ = [
    "LAYOUTS",
    "PRESETS",
    "Conversion",
    "Converted",
    "Layout",
    "Preset",
    "convert_tokenizer",
    "export_tokenizer",
    "from_published",
    "from_release",
    "grid_sides",
    "read_codebook",
    "read_published",
    "readable",
    "to_published",
    "to_release",
    "weight_entries",
]
