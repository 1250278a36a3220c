"""A tokenizer and an augmentation outside the package; importing them registers them."""

from example_tokenizer.colour_bins import ColourBins
from example_tokenizer.quarter_turns import QuarterTurns

__all__ = ["ColourBins", "QuarterTurns"]
