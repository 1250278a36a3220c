"""Collation for data sets that fetch whole batches."""

from collections.abc import Mapping

from seitpp.registry import FUNCTIONS
from seitpp.structures.batch import TokenBatch


@FUNCTIONS.register_module()
def identity_collate(batch: TokenBatch) -> TokenBatch:
    """Hand on the batch that `__getitems__` made; name it `dict(type="seitpp.identity_collate")`.

    Raises:
        TypeError: The data set fetches sample by sample, as wrappers such as `RepeatDataset` do.
    """
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"identity_collate takes the one batch that a data set's __getitems__ makes, got a {type(batch).__name__}; "
            "a wrapper around the data set hides its __getitems__. Use seitpp.ConcatDataset, seitpp.RepeatDataset or "
            "seitpp.ClassBalancedDataset, or the data set's own `subset` and `keep_length`"
        )
    return batch
