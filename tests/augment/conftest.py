"""What tests of several augmentations share."""

from collections.abc import Callable

import pytest
from torch.utils._python_dispatch import TorchDispatchMode


class _CountedCalls(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def count_calls() -> Callable[[Callable[[], object]], int]:
    """Counts the calls of torch's operators that a function makes: a loop over samples makes more for more samples."""

    def count(function: Callable[[], object]) -> int:
        with _CountedCalls() as calls:
            function()
        return calls.count

    return count
