"""The switches of a GPU's float32, which exist without one."""

from collections.abc import Iterator

import pytest
import torch

from seitpp.tokenizers.precision import exact_float32, network_precision

OWNERS = [torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", torch.backends.cudnn)]
NAME = "fp32_precision" if hasattr(torch.backends.cudnn, "conv") else "allow_tf32"
EXACT, SHORT = ("ieee", "tf32") if NAME == "fp32_precision" else (False, True)


def values() -> list[object]:
    return [getattr(owner, NAME) for owner in OWNERS]


@pytest.fixture
def shortened() -> Iterator[None]:
    before = values()
    for owner in OWNERS:
        setattr(owner, NAME, SHORT)
    yield
    for owner, value in zip(OWNERS, before, strict=True):
        setattr(owner, NAME, value)


def test_gpu_computes_in_full_inside_and_as_before_outside(shortened: None) -> None:
    with exact_float32("cuda"):
        assert values() == [EXACT, EXACT]
    assert values() == [SHORT, SHORT]


def test_switches_are_put_back_after_an_error(shortened: None) -> None:
    with pytest.raises(ZeroDivisionError), exact_float32("cuda"):
        _ = 1 / 0
    assert values() == [SHORT, SHORT]


def test_other_devices_leave_the_switches_alone(shortened: None) -> None:
    with exact_float32("cpu"), network_precision("cpu", "float32"):
        assert values() == [SHORT, SHORT]


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
@pytest.mark.parametrize("around", [True, False])
def test_precision_holds_inside_another_autocast(precision: str, dtype: torch.dtype, around: bool) -> None:
    ones = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=around), network_precision("cpu", precision):
        assert (ones @ ones).dtype == dtype
