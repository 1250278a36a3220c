"""Released checkpoints to ours and back, one name table a release."""

from seitpp.converters.seitpp_release import LAYOUTS, Layout, from_release, to_release

__all__ = ["LAYOUTS", "Layout", "from_release", "to_release"]
