"""The tokenizer of a loaded model, where none was given: that of its config's token stores, or what to pass."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmengine.config import Config
from torch import nn

from seitpp.engine.image_testing import read_tokenizer
from seitpp.io.text import shown


def find_tokenizer(model: nn.Module, what: str) -> str:
    """Return the token store that describes what made a model's training tokens: one that its config names.

    Args:
        model: A loaded model.
        what: What is to be tokenised, for messages.

    Raises:
        ValueError: There is none; says which store and which weights are missing, and what to pass.
    """
    reasons = []
    for path in dict.fromkeys(_stores_of(getattr(model, "_config", None))):
        if not Path(path).is_dir():
            reasons.append(f"the token store {path} of its config is not here")
            continue
        try:
            read_tokenizer(path)  # which refuses a store that does not say, or whose weights are not here
        except (OSError, ValueError) as error:
            reasons.append(str(error).partition("; ")[0])
        else:
            return path
    entry = getattr(model, "_dataset_meta", {}).get("tokenizer")
    if isinstance(entry, Mapping) and (name := entry.get("type") or entry.get("name")):
        reasons.insert(0, f"the checkpoint was trained on tokens of a {shown(name)[1:-1]}")
    because = f" ({'; '.join(reasons)})" if reasons else ""
    raise ValueError(
        f"{what} must be tokenised first, and no tokenizer is known{because}; pass tokenizer (--tokenizer): a file of "
        "configs/tokenizers/ with the tokenizer's weights, or the folder of a token store of the model's training"
    )


def _stores_of(config: Config | None) -> Iterator[str]:
    """Yield the token stores that a config names, of the codebook first."""
    if config is None:
        return
    model = config.get("model") or {}
    preprocessor = model.get("data_preprocessor") or config.get("data_preprocessor") or {}
    named = [preprocessor.get("codebook")]
    for loader in ("test_dataloader", "val_dataloader", "train_dataloader"):
        dataset = (config.get(loader) or {}).get("dataset") or {}
        if isinstance(dataset.get("store"), str):
            named.append(Path(dataset.get("data_root") or "", dataset.store))
    for path in named:
        if isinstance(path, (str, Path)) and not Path(path).is_file():  # a file of codes alone, or of the release
            yield str(path)
