"""Scores in the log as a table, where a line would hold some twenty."""

from typing import Any

from mmengine.runner import LogProcessor, Runner

from seitpp.evaluation.token_adapt import scores_table
from seitpp.registry import LOG_PROCESSORS


@LOG_PROCESSORS.register_module()
class TableLogProcessor(LogProcessor):
    """mmengine's `LogProcessor`, which shows TokenAdapt's scores as tables below the line of a validation or test.

    What is written to `scalars.json` and to other backends stays.
    """

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        tag, line = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        table, keys = scores_table(tag)
        kept = [item for item in line.split("  ") if item.partition(": ")[0] not in keys]
        return tag, "  ".join(kept) + (f"\n{table}" if table else "")
