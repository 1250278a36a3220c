"""Small folders of pictures, and a plan of them that measures nothing."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seitpp.workflow import Plan, Request, make_plan, planning


@pytest.fixture(scope="session")
def write_pictures() -> Callable[..., Path]:
    """Return a function that writes a folder of images for each class; a class has a colour of its own."""

    def write(
        folder: Path, count: int = 10, classes: Sequence[str] = ("ant", "bee"), side: int = 12, grey: bool = False
    ) -> Path:
        rng = np.random.default_rng(0)
        for number, name in enumerate(classes):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 100, (side, side, 3)) + [100 * (number % 2), 50 * number, 0]
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                (image.convert("L") if grey else image).save(folder / name / f"{index}.png")
        return folder

    return write


@pytest.fixture(scope="session")
def plan_of() -> Callable[..., Plan]:
    """Return a function that plans, where a step of any training takes a tenth of a second."""

    def plan(source: Path, out: Path, start_seconds: float = 1.0, **options: object) -> Plan:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(planning, "seconds_per_step", lambda recipe, setup: 0.1)
            return make_plan(Request(str(source), **options), str(out), "tools", start_seconds, lambda text: None)

    return plan
