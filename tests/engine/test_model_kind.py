"""What a config builds, and what is said of the wrong one."""

import pytest
from mmengine.config import Config

from seitpp.apis.model_index import find_config
from seitpp.engine.model_kind import ModelKind, check_kind, model_kind
from seitpp.io.config_file import read_config
from seitpp.models import MTM

OF_NAMES = {
    "seit_vit-tiny-p2_1xb64-60e_digits-tokens": ModelKind.CLASSIFIER,
    "knn_mtm_vit-tiny-p2_digits-tokens": ModelKind.CLASSIFIER,
    "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens": ModelKind.SEGMENTOR,
    "mtm_vitb": ModelKind.MTM,
    "tokenadapt_d64_1xb64-40e_digits-8px": ModelKind.TOKEN_ADAPT,
    "vitvqgan_tiny-p4-k256_1xb32-60e_photos-32px": ModelKind.TOKENIZER_TRAINING,
    "block_dct_q50": ModelKind.TOKENIZER,
}


@pytest.mark.parametrize(("name", "kind"), OF_NAMES.items())
def test_kinds_of_recipes(name: str, kind: ModelKind) -> None:
    assert model_kind(read_config(find_config(name))) is kind


def test_types_may_be_classes() -> None:
    assert model_kind(Config({"model": {"type": MTM}})) is ModelKind.MTM


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"type": "seitpp.MTM"}}, "the config is the config of MTM; expected .*: fine-tune it first"),
        ({"tokenizer": {"type": "seitpp.BlockDCT"}}, "config of a tokenizer; expected .* given as --tokenizer"),
        ({"model": {"type": "a.Detector"}}, r"the config builds 'a.Detector'; expected that of a classifier \(configs"),
        ({"lr": 1}, r"the config has no model; expected that of a classifier .* or a segmentor"),
    ],
)
def test_other_kinds_are_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_kind(Config(config), ModelKind.CLASSIFIER, ModelKind.SEGMENTOR)
