"""What tests, the smoke command and the documentation share: golden fixtures, synthetic stores, shrunken configs.

Nothing in the package imports this module.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).resolve().parents[1] / "tests" / "fixtures"


def golden_path(name: str) -> Path:
    """Path of the golden fixture `name` in the folder `SEITPP_GOLDEN_DIR` (default: `tests/fixtures`).

    Raises:
        FileNotFoundError: The fixture is not there. Parity tests fail then; they never skip.
    """
    path = Path(os.environ.get("SEITPP_GOLDEN_DIR") or FIXTURES) / name
    if not path.exists():
        raise FileNotFoundError(f"golden fixture {path} is missing; set SEITPP_GOLDEN_DIR to a folder that holds it")
    return path


def load_golden(name: str) -> dict[str, Any]:
    """Load an `.npz` fixture as a dict of arrays, with its JSON `meta` (if any) parsed under the key `meta`."""
    with np.load(golden_path(name), allow_pickle=False) as archive:
        arrays: dict[str, Any] = {key: archive[key] for key in archive.files}
    if "meta" in arrays:
        arrays["meta"] = json.loads(str(arrays["meta"]))
    return arrays
