"""The tools as a command line runs them, in the test's own process."""

import runpy
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from seitpp.io.command_line import run_tool

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def tool_main(name: str) -> partial[int]:
    """Load `tools/NAME` once; call the result with its arguments in a list, for the exit status."""
    return partial(_run, runpy.run_path(str(TOOLS / name))["main"])


def _run(main: object, arguments: Sequence[object]) -> int:
    return run_tool(lambda: main([str(argument) for argument in arguments]))
