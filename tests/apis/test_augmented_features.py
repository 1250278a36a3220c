"""Features of augmented samples: what each panel augments, draws that agree, and the samples that are chosen."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict

from helpers.classifier import TrainedClassifier, make_trained_classifier
from seitpp.apis import FeatureExtractor, TokenClassificationInferencer
from seitpp.apis.augmented_features import (
    ChosenSamples,
    PanelFeatures,
    choose_samples,
    store_under_test,
    token_adapt_of,
    unmixed,
)
from seitpp.augment import BatchRandomFlip
from seitpp.models import TokenAdapt
from seitpp.storage import StoreReader, StoreWriter

SIZES = dict(type="seitpp.TokenAdapt", out_grid=4, dims=8, num_heads=2, head_dims=4, mlp_dims=8)
FLIP = dict(type="seitpp.BatchRandomFlip", prob=0.5)
CROP = dict(type="seitpp.BatchRandomResizedCrop", size=56, scale=(0.5, 1.0))
MIXING = dict(type="seitpp.OneOf", transforms=[dict(type="seitpp.BatchMixup"), dict(type="seitpp.BatchCutMix")])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return make_trained_classifier(tmp_path_factory.mktemp("classifier"), num_images=12)


@pytest.fixture(scope="module")
def token_adapt(tmp_path_factory: pytest.TempPathFactory) -> ConfigDict:
    torch.manual_seed(0)
    sizes = {**SIZES, "codebook_size": 16, "code_dim": 12, "grid": 5}
    sizes.pop("type")
    weights = {f"token_adapt.{name}": value for name, value in TokenAdapt(**sizes).state_dict().items()}
    path = tmp_path_factory.mktemp("token_adapt") / "epoch_1.pth"
    torch.save({"state_dict": weights}, path)
    augments = [FLIP, CROP, MIXING]
    return ConfigDict(type="seitpp.TokenAdaptAugment", token_adapt=SIZES, checkpoint=str(path), augments=augments)


@pytest.fixture
def panels(trained: TrainedClassifier, token_adapt: ConfigDict) -> PanelFeatures:
    reader = StoreReader(trained.store)
    samples = choose_samples(reader, None, 6, 2, seed=0)
    return PanelFeatures(Config.fromfile(trained.config), trained.checkpoint, reader, samples, token_adapt, "cpu")


def test_clean_features_are_what_the_model_makes_of_the_store(
    panels: PanelFeatures, trained: TrainedClassifier
) -> None:
    indices = panels.samples.indices.tolist()
    found = panels.encode("clean", 1, 5, seed=0)
    extract = FeatureExtractor(str(trained.config), trained.checkpoint, "cpu")
    np.testing.assert_allclose(found.features[0], extract(trained.store, indices=indices), atol=1e-6)
    classify = TokenClassificationInferencer(str(trained.config), trained.checkpoint, "cpu")
    assert found.predicted[0].tolist() == [one["pred_label"] for one in classify(trained.store, indices=indices)]


def test_an_encoder_alone_predicts_nothing(trained: TrainedClassifier, token_adapt: ConfigDict) -> None:
    config = Config.fromfile(trained.config)
    config.model.decode_head = config.model.pop("head")
    reader = StoreReader(trained.store)
    samples = ChosenSamples(np.arange(3), np.arange(3), {})
    found = PanelFeatures(config, trained.checkpoint, reader, samples, token_adapt, "cpu").encode(
        "direct", 2, 3, seed=0
    )
    assert found.predicted is None and found.features.shape == (2, 3, 16) and found.points.shape == (6, 16)


def test_direct_draws_act_on_embeddings(panels: PanelFeatures, token_adapt: ConfigDict) -> None:
    """The panel's features are those of codes that the same draws flipped, draw after draw."""
    panels._token_adapt.augments = [FLIP]
    found = panels.encode("direct", 2, 12, seed=3)
    codes = torch.from_numpy(panels.reader.read(panels.samples.indices).astype("int64"))
    torch.manual_seed(3)
    flip, preprocessor = BatchRandomFlip(prob=0.5), panels.extractor.model.data_preprocessor
    for draw in range(2):
        flipped = flip.apply(codes, flip.sample(12, (5, 5)))
        inputs = preprocessor({"inputs": flipped, "sample_idx": torch.arange(12)}, False)["inputs"]
        with torch.no_grad():
            np.testing.assert_allclose(found.features[draw], panels.extractor.model.encode(inputs), atol=1e-6)
    assert np.abs(found.features[0] - found.features[1]).max() > 1e-3


def test_all_panels_have_the_same_draws_and_do_not_mix(panels: PanelFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list] = []
    apply = BatchRandomFlip.apply

    def recorded(self: BatchRandomFlip, maps: torch.Tensor, params: object) -> torch.Tensor:
        seen[-1] += next(iter(vars(params).values())).tolist()
        return apply(self, maps, params)

    monkeypatch.setattr(BatchRandomFlip, "apply", recorded)
    features, before = [], torch.get_rng_state()
    for panel in ("direct", "TokenAdapt", "pixels"):
        seen.append([])
        features.append(panels.encode(panel, 2, 5, seed=1).features)
    assert len(seen[0]) == 24 and 0 < sum(seen[0]) < 24
    assert seen[0] == seen[1] == seen[2]
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.abs(features[one] - features[other]).max() > 1e-3 for one, other in ((0, 1), (1, 2), (0, 2)))


def test_crops_have_the_size_of_what_they_act_on(panels: PanelFeatures) -> None:
    assert panels.augments("clean") == []
    assert [part["size"] for part in panels.augments("direct") if "size" in part] == [(4, 4)]
    adapted, pixels = panels.augments("TokenAdapt")[0], panels.augments("pixels")[0]
    assert adapted["augments"][1]["size"] == (8, 8) and adapted["token_adapt"]["out_grid"] == (4, 4)
    assert pixels["augments"][1]["size"] == (8, 8)  # images of 10 x 10 pixels, 5 x 5 tokens
    assert len(pixels["augments"]) == 2


def test_mixing_is_left_out_and_must_not_be_all(trained: TrainedClassifier, token_adapt: ConfigDict) -> None:
    assert unmixed([MIXING, FLIP, dict(type="seitpp.RandomApply", transforms=[MIXING])]) == [FLIP]
    alone = ConfigDict(token_adapt, augments=[MIXING])
    reader, samples = StoreReader(trained.store), ChosenSamples(np.arange(2), np.arange(2), {})
    with pytest.raises(ValueError, match="applies nothing but Mixup and CutMix"):
        PanelFeatures(Config.fromfile(trained.config), trained.checkpoint, reader, samples, alone, "cpu")


def test_token_adapt_is_that_of_the_data_preprocessor(token_adapt: ConfigDict) -> None:
    left_over = Config(dict(adapted=token_adapt, data_preprocessor=dict(augments=[FLIP])))
    assert token_adapt_of(left_over) is None
    split = [dict(type="seitpp.SplitBatch", first=[], second=[token_adapt])]
    found = token_adapt_of(Config(dict(model=dict(data_preprocessor=dict(augments=split)))))
    assert found == token_adapt
    assert store_under_test(Config(dict(val_dataloader=dict(dataset=dict(store="a", data_root="b"))))) == Path("b/a")
    with pytest.raises(ValueError, match=r"names no token store to test on; name one \(--store\)"):
        store_under_test(Config(dict(test_dataloader=dict(dataset=dict(type="CIFAR10")))))


class TestChosenSamples:
    @pytest.fixture
    def reader(self, tmp_path: Path) -> StoreReader:
        options = dict(
            codebook_size=2, grid=(1, 1), tokenizer=dict(name="none"), label_kind="class", classes=["ant", "bee", "cow"]
        )
        with StoreWriter(tmp_path / "store", **options) as writer:
            writer.append(np.zeros((41, 1, 1), np.int64), np.arange(41) % 2 + np.eye(41, dtype=np.int64)[40] * 2)
        return StoreReader(tmp_path / "store")

    def test_are_of_each_class_in_an_order_that_tells_nothing(self, reader: StoreReader) -> None:
        found = choose_samples(reader, ["bee", "ant"], 10, 9, seed=0)
        assert found.names == {1: "bee", 0: "ant"}
        assert np.bincount(found.labels).tolist() == [9, 9] and len(set(found.indices.tolist())) == 18
        np.testing.assert_array_equal(reader.labels[found.indices], found.labels)
        assert 2 < np.abs(np.diff(found.labels)).sum() < 17
        again, other = (choose_samples(reader, ["bee", "ant"], 10, 9, seed=seed) for seed in (0, 1))
        assert found.indices.tolist() == again.indices.tolist() != other.indices.tolist()

    def test_take_what_a_small_class_has(self, reader: StoreReader) -> None:
        found = choose_samples(reader, ["ant", "bee"], 2, 99, seed=0)
        assert np.bincount(found.labels).tolist() == [20, 20]

    @pytest.mark.parametrize(
        ("classes", "number", "message"),
        [
            (["ant", "bees"], 10, "has no samples of a class 'bees'; did you mean bee?"),
            (["ant", "2"], 10, "has no samples of a class '2'; there are ant, bee, cow"),
            (["ant", "ant"], 10, r"1 class of .* is chosen \(ant\), expected two"),
            (None, 1, "1 class of .*, expected two"),
            (None, 10, "class 'cow' of .* gives one sample, expected two"),
        ],
    )
    def test_of_classes_that_cannot_be_separated_are_refused(
        self, reader: StoreReader, classes: list[str] | None, number: int, message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            choose_samples(reader, classes, number, 5, seed=0)

    def test_need_labels(self, tmp_path: Path) -> None:
        with StoreWriter(tmp_path / "store", codebook_size=2, grid=(1, 1), tokenizer=dict(name="none")) as writer:
            writer.append(np.zeros((3, 1, 1), np.int64))
        with pytest.raises(ValueError, match="has no class labels, by which points are coloured"):
            choose_samples(StoreReader(tmp_path / "store"), None, 10, 5, seed=0)
