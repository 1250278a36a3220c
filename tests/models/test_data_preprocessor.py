"""The data preprocessor: crops, augmentations in training only, codes or embeddings, and whose codebook it is."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from torch import Tensor

from seitpp.models import TokenDataPreprocessor
from seitpp.registry import MODELS, TRANSFORMS
from seitpp.tokenizers import BlockDCT, PatchKMeans
from seitpp.tokenizers.codebook import nearest_codes, save_codebook

K, D = 300, 8


@TRANSFORMS.register_module()
class ReplaceBySoftEmbeddings(BaseTransform):
    """Test transform: random embeddings for codes, and soft targets beside them."""

    def transform(self, results: dict) -> dict:
        generator = torch.Generator().manual_seed(5)
        results["inputs"] = torch.randn(len(results["inputs"]), D, 6, 6, generator=generator)
        results["gt_score"] = torch.full((len(results["inputs"]), 4), 0.25)
        return results


@TRANSFORMS.register_module()
class RecordBatch(BaseTransform):
    """Test transform: keeps the batch it was given, and what it was prepared with."""

    def __init__(self) -> None:
        self.batch: dict = {}
        self.prepared: list[tuple] = []

    def prepare(self, *args: object) -> None:
        self.prepared.append(args)

    def transform(self, results: dict) -> dict:
        self.batch = dict(results)
        return results


def table() -> Tensor:
    return torch.randn(K, D, generator=torch.Generator().manual_seed(0))


def toy_batch(side: int = 32, dtype: torch.dtype = torch.int64, **more: Tensor) -> dict:
    codes = torch.randint(0, 250, (3, side, side), generator=torch.Generator().manual_seed(1)).to(dtype)
    return {"inputs": codes, "sample_idx": torch.tensor([7, 3, 9]), **more}


def build(**options: object) -> TokenDataPreprocessor:
    return TokenDataPreprocessor(**{"codebook": table(), **options})


RRC = dict(type="seitpp.TokenRRC", size=6)
RECORD = dict(type="seitpp.RecordBatch")
SOFT = dict(type="seitpp.ReplaceBySoftEmbeddings")


def test_centre_crop_takes_rows_and_columns_2_to_29_of_32() -> None:
    batch = toy_batch(32)
    inputs = build(crop_size=28)(batch)["inputs"]
    assert torch.equal(inputs, batch["inputs"][:, 2:30, 2:30])


def test_centre_crop_may_be_oblong_and_rounds_down() -> None:
    batch = toy_batch(9)
    assert torch.equal(build(crop_size=(9, 4))(batch)["inputs"], batch["inputs"][:, :, 2:6])


def test_grid_is_kept_without_a_crop_size() -> None:
    batch = toy_batch(9)
    assert torch.equal(build()(batch)["inputs"], batch["inputs"])


def test_grid_smaller_than_the_crop_is_refused() -> None:
    with pytest.raises(ValueError, match="a grid of 9 x 9 tokens cannot be cropped to 28 x 28; set the data"):
        build(crop_size=28)(toy_batch(9))


def test_augments_run_in_training_only() -> None:
    batch = toy_batch(9)
    preprocessor = build(augments=[SOFT], output="embeddings")
    augmented = preprocessor(batch, training=True)["inputs"]
    assert torch.equal(augmented, ReplaceBySoftEmbeddings().transform(toy_batch(9))["inputs"])
    assert torch.equal(preprocessor(batch)["inputs"], build(output="embeddings")(batch)["inputs"])


def test_centre_crop_takes_in_training_what_no_augmentation_cropped() -> None:
    whole = build(crop_size=6)(toy_batch(9), training=True)["inputs"]
    assert torch.equal(whole, build(crop_size=6)(toy_batch(9))["inputs"])
    soft = build(augments=[SOFT], crop_size=4, output="embeddings")(toy_batch(9), training=True)["inputs"]
    expected = ReplaceBySoftEmbeddings().transform(toy_batch(9))["inputs"][..., 1:5, 1:5]
    assert torch.equal(soft, expected)


def test_augments_run_in_order() -> None:
    first = build(augments=[SOFT, {**RRC, "size": 4}], output="embeddings")
    assert first(toy_batch(9), training=True)["inputs"].shape == (3, D, 4, 4)
    second = build(augments=[{**RRC, "size": 4}, SOFT], output="embeddings")
    assert second(toy_batch(9), training=True)["inputs"].shape == (3, D, 6, 6)


def test_augments_are_drawn_anew_for_every_batch() -> None:
    preprocessor = build(augments=[RRC])
    first, second = (preprocessor(toy_batch(9), training=True)["inputs"] for _ in range(2))
    assert not torch.equal(first, second)


def test_augmented_embeddings_become_the_nearest_codes() -> None:
    embeddings = build(augments=[SOFT], output="embeddings")(toy_batch(9), training=True)["inputs"]
    codes = build(augments=[SOFT])(toy_batch(9), training=True)["inputs"]
    assert codes.dtype == torch.int64
    assert torch.equal(codes, nearest_codes(embeddings.permute(0, 2, 3, 1), table()))


def test_crop_of_the_whole_grid_gives_back_the_codes() -> None:
    whole = dict(type="seitpp.TokenRRC", size=9, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    batch = toy_batch(9)
    assert torch.equal(build(augments=[whole])(batch, training=True)["inputs"], batch["inputs"])


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_are_the_codebook_rows(training: bool) -> None:
    batch = toy_batch(9)
    inputs = build(output="embeddings")(batch, training)["inputs"]
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, table()[batch["inputs"]].permute(0, 3, 1, 2))


@pytest.mark.parametrize("output", ["codes", "embeddings"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32])
def test_every_integer_type_gives_the_same(output: str, training: bool, dtype: torch.dtype) -> None:
    preprocessor = build(augments=[RRC], crop_size=6, output=output)
    found = []
    for batch in (toy_batch(9, dtype), toy_batch(9)):
        torch.manual_seed(0)
        found.append(preprocessor(batch, training)["inputs"])
    assert found[0].dtype == found[1].dtype and torch.equal(*found)


@pytest.mark.parametrize("output", ["codes", "embeddings"])
def test_autocast_changes_nothing(output: str) -> None:
    preprocessor = build(augments=[RRC], output=output)
    torch.manual_seed(0)
    expected = preprocessor(toy_batch(32), training=True)["inputs"]
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = preprocessor(toy_batch(32), training=True)["inputs"]
        assert (table() @ table().T).dtype == torch.bfloat16  # autocast is on
    assert found.dtype == expected.dtype and torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_augments_learn_what_frozen_networks_may_run_in(dtype: torch.dtype) -> None:
    preprocessor = build(augments=[RECORD])
    preprocessor(toy_batch(9), training=True)
    record = preprocessor.augments.transforms[0]
    assert record.batch["network_dtype"] == torch.float32
    with torch.autocast("cpu", dtype=dtype):
        preprocessor(toy_batch(9), training=True)
    assert record.batch["network_dtype"] == dtype
    with torch.autocast("cuda", dtype=dtype, enabled=False):
        preprocessor(toy_batch(9), training=True)
    assert record.batch["network_dtype"] == torch.float32


@pytest.mark.parametrize("num_classes", [None, 7])
def test_augments_see_codebook_and_number_of_classes(num_classes: int | None) -> None:
    preprocessor = build(augments=[RECORD], num_classes=num_classes)
    preprocessor(toy_batch(9, gt_label=torch.tensor([4, 0, 2])), training=True)
    batch = preprocessor.augments.transforms[0].batch
    assert batch["codebook"] is preprocessor.codebook and batch.get("num_classes") == num_classes
    always = {"inputs", "sample_idx", "gt_label", "codebook", "distance", "network_dtype"}
    assert set(batch) - {"num_classes"} == always


def test_mixing_makes_soft_targets_of_labels() -> None:
    preprocessor = build(augments=[dict(type="seitpp.TokenCutMix")], num_classes=5)
    samples = preprocessor(toy_batch(9, gt_label=torch.tensor([4, 0, 2])), training=True)["data_samples"]
    scores = torch.stack([sample.gt_score for sample in samples])
    assert scores.shape == (3, 5)
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(3))


def test_every_augmentation_is_prepared_wherever_it_is() -> None:
    nested = [RECORD, dict(type="seitpp.SplitBatch", first=[dict(type="seitpp.OneOf", transforms=[RECORD])], second=[])]
    preprocessor = build(augments=nested)
    facts = {"grid": [9, 9]}
    preprocessor.prepare_training(facts, "the store")
    first = preprocessor.augments.transforms[0]
    second = preprocessor.augments.transforms[1].first[0].transforms[0][0]
    for record in (first, second):
        assert record.prepared == [(facts, "the store", preprocessor.codebook, preprocessor.codebook_sha256)]


def test_nothing_requires_a_gradient() -> None:
    preprocessor = build(augments=[RRC], output="embeddings")
    assert list(preprocessor.parameters()) == [] and not preprocessor.codebook.requires_grad
    assert not preprocessor(toy_batch(9), training=True)["inputs"].requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_data_samples_carry_place_and_label(training: bool) -> None:
    samples = build()(toy_batch(9, gt_label=torch.tensor([4, 0, 2])), training)["data_samples"]
    assert [sample.sample_idx for sample in samples] == [7, 3, 9]
    assert [sample.gt_label.tolist() for sample in samples] == [[4], [0], [2]]
    assert "gt_score" not in samples[0]


def test_data_samples_without_labels_have_a_place() -> None:
    samples = build()(toy_batch(9))["data_samples"]
    assert [sample.sample_idx for sample in samples] == [7, 3, 9] and "gt_label" not in samples[0]


def test_soft_targets_of_an_augmentation_pass_through() -> None:
    preprocessor = build(augments=[SOFT])
    batch = toy_batch(9, gt_label=torch.tensor([4, 0, 2]))
    samples = preprocessor(batch, training=True)["data_samples"]
    assert [sample.gt_score.tolist() for sample in samples] == [[0.25] * 4] * 3
    assert all("gt_score" not in sample for sample in preprocessor(batch)["data_samples"])


def test_data_samples_may_be_left_out_of_training_only() -> None:
    preprocessor = build(with_data_samples=False)
    assert preprocessor(toy_batch(9), training=True)["data_samples"] is None
    assert len(preprocessor(toy_batch(9))["data_samples"]) == 3


def test_batch_is_not_written_to() -> None:
    batch = toy_batch(9)
    keys, before = set(batch), batch["inputs"].clone()
    build(augments=[RRC])(batch, training=True)
    assert set(batch) == keys and torch.equal(batch["inputs"], before)


@pytest.mark.parametrize("name", ["codebook.npy", "codebook.ckpt"])
@pytest.mark.parametrize("kind", [str, Path])
def test_codebook_is_read_from_a_file(tmp_path: Path, name: str, kind: type) -> None:
    save_codebook(tmp_path / name, table())
    preprocessor = build(codebook=kind(tmp_path / name))
    assert torch.equal(preprocessor.codebook, table())
    assert preprocessor.codebook_source == str(tmp_path / name)


def test_codebook_is_a_copy() -> None:
    values = table()
    preprocessor = build(codebook=values)
    values.zero_()
    assert torch.equal(preprocessor.codebook, table())


def test_registry_builds_it_from_an_array() -> None:
    built = MODELS.build(dict(type="seitpp.TokenDataPreprocessor", codebook=table().numpy(), augments=[RRC]))
    assert torch.equal(built.codebook, table()) and len(built.augments.transforms) == 1


def test_unknown_output_is_refused() -> None:
    with pytest.raises(ValueError, match="output must be 'codes' or 'embeddings', got 'maps'"):
        build(output="maps")


def test_batch_augments_of_the_classifier_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"batch_augments \(the classifier's train_cfg\) is .*; use `augments` instead"
    ):
        build(batch_augments=dict(augments=[dict(type="Mixup", alpha=0.8)]))


def test_checkpoint_with_the_same_codebook_is_loaded() -> None:
    state = build().state_dict()
    assert list(state) == ["codebook"]
    build().load_state_dict(state)


@pytest.mark.parametrize(
    "other", [table() + 1e-3, table().flip(0), table()[:-1], table()[:, :-1], table().view(2 * K, D // 2)]
)
def test_checkpoint_with_another_codebook_is_refused(other: Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"the checkpoint and the data preprocessor \(codebook an array\) belong to .*codebook_s"
    ):
        build().load_state_dict({"codebook": other})


def test_refusal_names_the_codebook_file(tmp_path: Path) -> None:
    save_codebook(tmp_path / "mine.npy", table())
    with pytest.raises(ValueError, match=r"mine\.npy\) belong to different tokenizers: codebook_sha256"):
        build(codebook=tmp_path / "mine.npy").load_state_dict({"codebook": F.normalize(table())})


def test_checkpoint_without_codebook_keeps_ours() -> None:
    model = torch.nn.ModuleDict({"data_preprocessor": build(), "layer": torch.nn.Linear(2, 2)})
    state = {name: value for name, value in model.state_dict().items() if name.startswith("layer")}
    model.load_state_dict(state)
    assert torch.equal(model["data_preprocessor"].codebook, table()) and set(state) == {"layer.weight", "layer.bias"}


def test_codebook_of_a_whole_checkpoint_is_checked() -> None:
    model = torch.nn.ModuleDict({"data_preprocessor": build(), "layer": torch.nn.Linear(2, 2)})
    state = {**model.state_dict(), "data_preprocessor.codebook": table() * 2}
    with pytest.raises(ValueError, match="belong to different tokenizers"):
        model.load_state_dict(state)


@pytest.mark.parametrize(("distance", "code"), [("cosine", 1), ("euclidean", 0)])
def test_nearest_codes_are_found_by_the_tokenizers_distance(distance: str, code: int) -> None:
    """A vector of length 0.9 that points a little more to the long code 1 and lies nearer to the short code 0."""
    codebook = torch.tensor([[1.0, 0.0], [30.0, 30.0]])
    preprocessor = TokenDataPreprocessor(codebook, distance=distance)
    maps = torch.tensor([0.7, 0.6]).view(1, 2, 1, 1)
    batch = preprocessor({"inputs": maps, "sample_idx": torch.arange(1)})
    assert batch["inputs"].item() == code


def test_unknown_distance_is_refused() -> None:
    with pytest.raises(ValueError, match="distance must be one of cosine, euclidean, got 'manhattan'"):
        build(distance="manhattan")


# Tokens without a codebook ------------------------------------------------------------------------------------------


def coefficients(channels: int = 5) -> Tensor:
    return torch.randint(-9, 10, (3, 8, 8, channels), generator=torch.Generator().manual_seed(2), dtype=torch.int16)


class Stored:
    """A data set of coefficients, as `TokenDataset` gives them."""

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitems__(self, places: list[int]) -> dict:
        return {"inputs": self.values[torch.as_tensor(places)]}


def without_codebook(channels: int = 5, **options: object) -> TokenDataPreprocessor:
    return TokenDataPreprocessor(channels=channels, output="embeddings", **options)


def test_coefficients_become_maps_of_mean_0_and_deviation_1_over_the_training_data() -> None:
    values = coefficients()
    values[..., 3] = 4  # a constant channel is centred and not blown up
    preprocessor = without_codebook()
    preprocessor.fit(Stored(values))
    maps = preprocessor({"inputs": values, "sample_idx": torch.arange(3)})["inputs"]
    assert maps.dtype == torch.float32 and maps.shape == (3, 5, 8, 8)
    mean, std = maps.mean(dim=(0, 2, 3)), maps.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(mean, torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.tensor([1.0, 1, 1, 0, 1]), atol=1e-5, rtol=0)
    restored = maps.movedim(1, -1) * preprocessor.std + preprocessor.mean
    torch.testing.assert_close(restored, values.float(), atol=1e-4, rtol=0)


def test_augmentations_see_coefficients_as_they_are_stored() -> None:
    preprocessor = without_codebook(augments=[RECORD], crop_size=6)
    preprocessor.fit(Stored(coefficients() * 100))
    found = preprocessor({"inputs": coefficients(), "sample_idx": torch.arange(3)}, training=True)["inputs"]
    seen = preprocessor.augments.transforms[0].batch
    assert torch.equal(seen["inputs"], coefficients().movedim(-1, 1).float()) and seen["codebook"] is None
    assert found.shape == (3, 5, 6, 6)


def test_moments_are_those_of_the_checkpoint() -> None:
    trained, loaded = without_codebook(), without_codebook()
    trained.fit(Stored(coefficients()))
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(loaded.mean, trained.mean) and torch.equal(loaded.std, trained.std) and loaded.mean.any()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"codebook": torch.zeros(4, 5)}, "belong to different tokenizers: channels none and 5"),
        ({}, "has no mean and deviation of 5 integers per position"),
    ],
)
def test_checkpoint_of_codes_is_refused_for_coefficients(state: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        without_codebook().load_state_dict(state, strict=False)


@pytest.mark.parametrize("options", [{}, {"codebook": torch.zeros(4, 2), "channels": 3}])
def test_codebook_or_channels(options: dict) -> None:
    with pytest.raises(ValueError, match="give exactly one of the two"):
        TokenDataPreprocessor(output="embeddings", **options)


def test_codes_need_a_codebook() -> None:
    with pytest.raises(ValueError, match="output='codes' needs a codebook; tokens of 5 integers are 'embeddings'"):
        TokenDataPreprocessor(channels=5)


def test_other_number_of_coefficients_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tokens \(3, 8, 8, 4\) do not fit: .* expects \(B, H, W, 5\); set its"):
        without_codebook()({"inputs": coefficients(4), "sample_idx": torch.arange(3)})
    with pytest.raises(ValueError, match=r"expects \(B, H, W, 5\)"):
        without_codebook().fit(Stored(coefficients(5)[..., 0]))


# Images in place of tokens ------------------------------------------------------------------------------------------


def pixels(count: int = 3) -> Tensor:
    return torch.randint(256, (count, 1, 8, 8), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def fitted_kmeans() -> PatchKMeans:
    return PatchKMeans(image_size=8, patch_size=2, in_channels=1).fit(pixels(40).float() / 255, 12)


def test_images_are_tokenised_as_the_tokenizer_does() -> None:
    tokenizer = fitted_kmeans()
    config = dict(
        type="seitpp.PatchKMeans", image_size=8, patch_size=2, in_channels=1, codebook=tokenizer.codebook.numpy()
    )
    preprocessor = build(codebook=tokenizer.codebook, distance="euclidean", tokenizer=config)
    assert not any("tokenizer" in name for name in preprocessor.state_dict())
    found = preprocessor({"images": pixels(), "sample_idx": torch.arange(3)})
    assert torch.equal(found["inputs"], tokenizer.encode(pixels().float() / 255))
    assert [sample.sample_idx for sample in found["data_samples"]] == [0, 1, 2]


def test_images_become_the_coefficients_of_the_tokenizer() -> None:
    tokenizer = BlockDCT(image_size=8, in_channels=1)
    preprocessor = without_codebook(channels=64, tokenizer=dict(type="seitpp.BlockDCT", image_size=8, in_channels=1))
    found = preprocessor({"images": pixels(), "sample_idx": torch.arange(3)})["inputs"]
    assert torch.equal(found, tokenizer.encode(pixels().float() / 255).movedim(-1, 1).float())


def test_images_without_a_tokenizer_are_refused() -> None:
    with pytest.raises(ValueError, match=r"holds images \(3, 1, 8, 8\) and no tokens; set the data preprocessor's tok"):
        build()({"images": pixels(), "sample_idx": torch.arange(3)})


def test_tokenizer_of_another_codebook_is_refused() -> None:
    config = dict(type="seitpp.PatchKMeans", image_size=8, patch_size=2, in_channels=1)
    other = build(tokenizer={**config, "codebook": fitted_kmeans().codebook.numpy()})
    with pytest.raises(ValueError, match=rf"the PatchKMeans and .* an array.*codebook_size 12 and {K}. Use the tok"):
        other({"images": pixels(), "sample_idx": torch.arange(3)})
    coefficients = build(tokenizer=dict(type="seitpp.BlockDCT", image_size=8, in_channels=1))
    with pytest.raises(ValueError, match=r"BlockDCT and the data preprocessor .*: channels 64 and none"):
        coefficients({"images": pixels(), "sample_idx": torch.arange(3)})
