"""Samples of a config's data before training: as the data set gives them, and as the model will get them."""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope

from seitpp.engine.browsing.base import Browser
from seitpp.engine.browsing.images import ImageBrowser, class_of
from seitpp.engine.browsing.pairs import PairBrowser
from seitpp.engine.browsing.tokens import TokenBrowser
from seitpp.engine.model_kind import ModelKind, model_kind
from seitpp.models import TokenDataPreprocessor

__all__ = ["Browser", "ImageBrowser", "PairBrowser", "TokenBrowser", "make_browser"]


def make_browser(config: Config, phase: str, checkpoint: str | Path | None = None) -> Browser:
    """Build the data of a config, and what it takes to show them.

    Args:
        config: Of a run; the default scope is set while it is built.
        phase: `train`, `val` or `test`.
        checkpoint: The weights of the tokenizer of a store, where they are not those that it names.
    """
    with DefaultScope.overwrite_default_scope(config.get("default_scope", "mmengine")):
        if model_kind(config) is ModelKind.TOKEN_ADAPT:
            return PairBrowser(config, phase)
        preprocessor = class_of(config.get("data_preprocessor", {}))
        if preprocessor is not None and issubclass(preprocessor, TokenDataPreprocessor):
            return TokenBrowser(config, phase, checkpoint)
        return ImageBrowser(config, phase)
