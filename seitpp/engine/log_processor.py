"""Scores in the log: as a table where a line would hold some twenty, and each as it was computed."""

import re
from typing import Any

from mmengine.runner import LogProcessor, Runner

from seitpp.evaluation.token_adapt import scores_table
from seitpp.registry import LOG_PROCESSORS

# What is averaged of validations and tests; mmengine's own pattern has `loss` in it, for training.
_TIMES = re.compile("time")


@LOG_PROCESSORS.register_module()
class TableLogProcessor(LogProcessor):
    """mmengine's `LogProcessor`, which shows TokenAdapt's scores as tables below the line of a validation or test.

    What is written to `scalars.json` and to other backends stays, but for a validation's `loss`: here it is that of the
    validation, where mmengine's is the mean over the last `window_size` of the run.
    """

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        pattern, self.mean_pattern = self.mean_pattern, _TIMES
        try:
            tag, line = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        finally:
            self.mean_pattern = pattern
        table, keys = scores_table(tag)
        kept = [item for item in line.split("  ") if item.partition(": ")[0] not in keys]
        return tag, "  ".join(kept) + (f"\n{table}" if table else "")
