"""What a config builds: a classifier, a segmentor, MTM, TokenAdapt, or a tokenizer; and refusing the wrong one."""

from collections.abc import Mapping
from enum import Enum

from mmengine.config import Config

from seitpp.io.config_file import type_name
from seitpp.io.text import shown


class ModelKind(Enum):
    """Kinds of configs, in words for messages."""

    CLASSIFIER = "a classifier"
    SEGMENTOR = "a segmentor"
    MTM = "MTM"
    TOKEN_ADAPT = "TokenAdapt"
    TOKENIZER = "a tokenizer"
    TOKENIZER_TRAINING = "the training of a tokenizer"
    OTHER = "another model"


_BY_TYPE = {
    "MTM": ModelKind.MTM,
    "TokenAdaptPretrain": ModelKind.TOKEN_ADAPT,
    "VQTokenizerTrainer": ModelKind.TOKENIZER_TRAINING,
}
_FOLDERS = {
    ModelKind.CLASSIFIER: "configs/seit/ and configs/seitpp/",
    ModelKind.SEGMENTOR: "configs/segmentation/",
    ModelKind.MTM: "configs/mtm/",
    ModelKind.TOKEN_ADAPT: "configs/tokenadapt/",
    ModelKind.TOKENIZER: "configs/tokenizers/",
}
_ADVICE = {
    ModelKind.MTM: (
        "MTM predicts masked codes and knows no classes: fine-tune it first (configs/seitpp/), or take its features "
        "(tools/analysis_tools/extract_features.py)"
    ),
    ModelKind.TOKEN_ADAPT: "TokenAdapt augments tokens; tools/train.py --token-adapt gives it to a recipe",
    ModelKind.TOKENIZER: "A tokenizer makes tokens of images; it is given as --tokenizer, beside a model's config",
    ModelKind.TOKENIZER_TRAINING: "Its result makes tokens of images; the config of that is given as --tokenizer",
}


def model_kind(config: Config) -> ModelKind:
    """Return what a config builds, by the names of its parts; nothing is built."""
    model = config.get("model")
    if not isinstance(model, Mapping):
        return ModelKind.TOKENIZER if "tokenizer" in config else ModelKind.OTHER
    if (name := type_name(model)) in _BY_TYPE:
        return _BY_TYPE[name]
    if "decode_head" in model:
        return ModelKind.SEGMENTOR
    return ModelKind.CLASSIFIER if "head" in model else ModelKind.OTHER


def check_kind(config: Config, *expected: ModelKind) -> ModelKind:
    """Return what a config builds; raise `ValueError` that says what it is and what to do, unless it is expected."""
    found = model_kind(config)
    if found in expected:
        return found
    name, model = config.filename or "the config", config.get("model")
    if found is ModelKind.OTHER:
        what = f"{name} builds {shown(model.get('type'))}" if isinstance(model, Mapping) else f"{name} has no model"
    else:
        what = f"{name} is the config of {found.value}"
    wanted = " or ".join(f"{kind.value} ({_FOLDERS[kind]})" if kind in _FOLDERS else kind.value for kind in expected)
    advice = f". {_ADVICE[found]}" if found in _ADVICE else ""
    raise ValueError(f"{what}; expected that of {wanted}{advice}")
