"""From a folder of pictures to a scored model and a page about it, through the tools that a person would call."""

from seitpp.workflow.plan import Plan, Request, Step, check_same_request, read_plan
from seitpp.workflow.planning import make_plan
from seitpp.workflow.report import headline, write_report
from seitpp.workflow.steps import StepFailed, run_steps

__all__ = [
    "Plan",
    "Request",
    "Step",
    "StepFailed",
    "check_same_request",
    "headline",
    "make_plan",
    "read_plan",
    "run_steps",
    "write_report",
]
