"""Image files and label maps to pixels and labels, or a reason why not; needs no torch."""
