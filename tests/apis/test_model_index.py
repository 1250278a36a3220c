"""Models by the names of the configs that come with the package."""

import pytest
import torch

from helpers.classifier import make_trained_classifier
from seitpp.apis import get_model, list_models
from seitpp.apis.model_index import named_configs, tasks
from seitpp.models import MTM
from seitpp.tokenizers import BlockDCT

DIGITS = "seit_vit-tiny-p2_1xb64-60e_digits-tokens"


def test_names_are_listed_by_pattern_and_task() -> None:
    assert "mtm_vitb" in list_models() and len(list_models()) == len(named_configs()) > 70
    assert list_models("seit_*digits") == [DIGITS]
    assert list_models("seit", exclude_patterns=["*in1", "*-tiny", "seitpp", "*inat", "*in100"]) == [
        "seit_vitvqgan",
        "seit_vitvqgan_tiles-512px",
    ]
    assert list_models("*scenes", task="semantic segmentation") == ["upernet_vit-tiny-p1_1xb8-4k_scenes-tokens"]
    with pytest.raises(ValueError, match="task is 'Detection', expected one of Image Classification, Masked Token"):
        list_models(task="Detection")


def test_alias_has_the_task_of_its_recipe() -> None:
    assert tasks()["mtm_vitb"] == tasks()["mtm_vit-base-p16_8xb512-400e_in1k-tokens"] == "Masked Token Modelling"


def test_configs_may_have_another_task_than_their_folder() -> None:
    assert list_models("*fashion-mnist", task="Tokenization")[0] == "dct_q50_fashion-mnist"
    assert "kmeans_4px-k256_fashion-mnist" not in list_models("*fashion-mnist", task="Image Classification")
    assert list_models("mtm*fashion-mnist", task="Masked Token Modelling") == list_models("mtm*fashion-mnist") != []


def test_network_of_a_name_without_data(caplog: pytest.LogCaptureFixture) -> None:
    model = get_model("mtm_vit-tiny-p2_1xb64-100e_digits-tokens", backbone=dict(arch=dict(num_layers=1)))
    assert isinstance(model, MTM) and len(model.backbone.layers) == 1 and not model.training
    assert model(torch.zeros(1, 4, 4, dtype=torch.int64))[0].shape == (1, 17, 64)


def test_tokenizer_of_a_name() -> None:
    tokenizer = get_model("block_dct_q50", image_size=64)
    assert isinstance(tokenizer, BlockDCT) and tokenizer.image_size == (64, 64)
    with pytest.raises(ValueError, match=r"is fitted to images; seitpp\.tokenizers\.tokenizer_from_store builds"):
        get_model("patch_kmeans_8px_k512")


def test_weights_and_changes_of_the_config(tmp_path) -> None:
    trained = make_trained_classifier(tmp_path)
    model = get_model(trained.config, trained.checkpoint, backbone=dict(drop_rate=0.5))
    assert model._dataset_meta["classes"][0] == "ant" and model.backbone.drop_after_pos.p == 0.5
    bias = torch.load(trained.checkpoint, weights_only=True)["state_dict"]["head.fc.bias"]
    torch.testing.assert_close(model.head.fc.bias.data, bias)
    with pytest.raises(FileNotFoundError, match="gone does not exist"):
        get_model(trained.config, data_preprocessor=dict(codebook=str(tmp_path / "gone")), checkpoint=tmp_path / "gone")


def test_wrong_names_get_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match=f"'{DIGITS}s' is neither .*; did you mean {DIGITS} or"):
        get_model(f"{DIGITS}s")
    with pytest.raises(ValueError, match=r"seitpp.apis.list_models\(\) gives all names"):
        get_model("resnet50")
    with pytest.raises(ValueError, match="the model is a int; expected a config, its path, or its name"):
        get_model(3)
