"""Images to a token store: sources, decoding, encoding in any number of processes, committing, reporting."""

from seitpp.ingest.commit import Totals, clean
from seitpp.ingest.job import Plan, TokenizeJob
from seitpp.ingest.report import TokenizeReport, make_report, report_folder
from seitpp.ingest.run import Processes, make_plan, tokenize
from seitpp.ingest.sources import ImageSource, open_image_source
from seitpp.ingest.splits import make_plans

__all__ = [
    "ImageSource",
    "Plan",
    "Processes",
    "TokenizeJob",
    "TokenizeReport",
    "Totals",
    "clean",
    "make_plan",
    "make_plans",
    "make_report",
    "open_image_source",
    "report_folder",
    "tokenize",
]
