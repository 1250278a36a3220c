"""Images on disk to a token store: sources, decoding, encoding in any number of processes, merging, reporting."""

from seitpp.tokenization.job import Plan, TokenizeJob
from seitpp.tokenization.merging import Totals, clean
from seitpp.tokenization.report import TokenizeReport, make_report, report_folder
from seitpp.tokenization.run import make_plan, tokenize
from seitpp.tokenization.sources import ImageSource, open_image_source

__all__ = [
    "ImageSource",
    "Plan",
    "TokenizeJob",
    "TokenizeReport",
    "Totals",
    "clean",
    "make_plan",
    "make_report",
    "open_image_source",
    "report_folder",
    "tokenize",
]
