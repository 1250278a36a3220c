"""TokenAdaptAugment: what it computes, what it keeps out of the model, and what it refuses."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from mmengine.model import ExponentialMovingAverage
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seitpp.augment import TokenAdaptAugment
from seitpp.models import MTM, TokenAdapt
from seitpp.registry import MODELS
from seitpp.tokenizers.codebook import codebook_sha256

K, D, GRID, OUT_GRID = 20, 8, 8, 6
SIZES = dict(codebook_size=K, code_dim=D, grid=GRID, out_grid=OUT_GRID, dims=16, num_heads=2, head_dims=8, mlp_dims=24)
CROP = dict(type="seitpp.BatchCenterCrop", size=2 * OUT_GRID)
WHOLE = {**SIZES, "out_grid": GRID}


def network(seed: int = 0, **changes: object) -> TokenAdapt:
    torch.manual_seed(seed)
    model = TokenAdapt(**{**SIZES, **changes})
    model.init_weights()
    return model


def batch(size: int = 5, **others: object) -> dict:
    generator = torch.Generator().manual_seed(0)
    return {
        "inputs": torch.randint(K, (size, GRID, GRID), generator=generator),
        "codebook": torch.randn(K, D, generator=generator),
        "sample_idx": torch.arange(size),
        **others,
    }


def embeddings_of(results: dict) -> Tensor:
    return F.embedding(results["inputs"].long(), results["codebook"]).permute(0, 3, 1, 2)


def save(path: Path, model: TokenAdapt, prefix: str = "", **others: Tensor) -> Path:
    torch.save({"state_dict": {**{prefix + key: value for key, value in model.state_dict().items()}, **others}}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return save(tmp_path / "tokenadapt.pth", network())


# What it computes


def test_codes_are_converted_augmented_reversed_and_quantised() -> None:
    model, results = network(), batch()
    maps = model.convert(embeddings_of(results))
    expected = model.reverse(maps[..., 2:14, 2:14]).argmax(dim=-1)
    assert torch.equal(TokenAdaptAugment(model, augments=[CROP])(results)["inputs"], expected)
    assert expected.shape == (5, OUT_GRID, OUT_GRID)


def test_embeddings_give_what_their_codes_give() -> None:
    augment, results = TokenAdaptAugment(network(), augments=[CROP]), batch()
    embedded = augment({**results, "inputs": embeddings_of(results)})["inputs"]
    assert torch.equal(embedded, augment(results)["inputs"])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_any_integer_type_of_codes_is_taken(dtype: torch.dtype) -> None:
    augment, results = TokenAdaptAugment(network(), augments=[CROP]), batch()
    other = augment({**results, "inputs": results["inputs"].to(dtype)})["inputs"]
    assert torch.equal(other, augment(results)["inputs"]) and other.dtype == torch.int64


@pytest.mark.parametrize("size", [0, 1, 3])
def test_batches_of_any_size_are_taken(size: int) -> None:
    augment = TokenAdaptAugment(network(), augments=[CROP])
    codes = augment(batch(size))["inputs"]
    assert codes.shape == (size, OUT_GRID, OUT_GRID)


def test_a_batch_in_pieces_gives_what_it_gives_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    augment = TokenAdaptAugment(network(), augments=[CROP])
    at_once = augment(batch())["inputs"]
    monkeypatch.setattr("seitpp.augment.token_adapt._CPU_TOKENS", 2 * GRID * GRID)
    assert torch.equal(augment(batch())["inputs"], at_once)


def test_augmentations_see_the_batch_with_maps_as_inputs() -> None:
    seen: dict = {}
    augment, labels = TokenAdaptAugment(network(**WHOLE)), torch.arange(5)
    augment.children.append(lambda results: seen.update(results) or results)
    augment(batch(gt_label=labels, num_classes=7))
    assert seen["inputs"].shape == (5, D, 2 * GRID, 2 * GRID) and seen["inputs"].dtype == torch.float32
    assert seen["gt_label"] is labels and seen["num_classes"] == 7


def test_label_maps_follow_the_flip() -> None:
    painted = torch.arange(4 * GRID).expand(5, 4 * GRID, -1)
    flip = dict(type="seitpp.BatchRandomFlip", prob=1.0)
    results = TokenAdaptAugment(network(**WHOLE), augments=[flip])(batch(gt_sem_seg=painted))
    assert torch.equal(results["gt_sem_seg"], painted.flip(-1))


def test_soft_targets_follow_mixing() -> None:
    augment = TokenAdaptAugment(network(**WHOLE), augments=[dict(type="seitpp.BatchMixup", alpha=1.0)])
    results = augment(batch(gt_label=torch.arange(5), num_classes=5))
    torch.testing.assert_close(results["gt_score"].sum(dim=1), torch.ones(5))
    assert (results["gt_score"].max(dim=1).values < 1).any()


def test_values_without_a_codebook_are_regressed() -> None:
    model = network(codebook_size=None)
    model.mean.fill_(2.0)
    model.std.fill_(3.0)
    values = torch.randn(3, D, GRID, GRID)
    results = TokenAdaptAugment(model, augments=[CROP])({"inputs": values, "sample_idx": torch.arange(3)})
    expected = model.reverse(model.convert(values)[..., 2:14, 2:14]).permute(0, 3, 1, 2)
    torch.testing.assert_close(results["inputs"], expected, atol=1e-6, rtol=1e-6)
    assert results["inputs"].shape == (3, D, OUT_GRID, OUT_GRID)


def test_a_regression_takes_codes_as_their_embeddings() -> None:
    augment, results = TokenAdaptAugment(network(codebook_size=None), augments=[CROP]), batch()
    embedded = augment({**results, "inputs": embeddings_of(results)})["inputs"]
    torch.testing.assert_close(augment(results)["inputs"], embedded)


def test_inputs_that_are_not_numbers_give_codes() -> None:
    results = batch()
    codes = TokenAdaptAugment(network(), augments=[CROP])({**results, "inputs": embeddings_of(results) * math.nan})
    assert codes["inputs"].min() >= 0 and codes["inputs"].max() < K


@pytest.mark.parametrize(
    ("precision", "network_dtype", "expected"),
    [
        ("auto", None, torch.float32),
        ("auto", torch.float32, torch.float32),
        ("auto", torch.bfloat16, torch.bfloat16),
        ("float32", torch.bfloat16, torch.float32),
        ("bfloat16", None, torch.bfloat16),
    ],
)
def test_networks_run_in_the_precision_asked_for(
    precision: str, network_dtype: torch.dtype | None, expected: torch.dtype
) -> None:
    model, seen = network(), []
    for layer in (model.conversion.to_map, model.reversal.head):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    others = {} if network_dtype is None else {"network_dtype": network_dtype}
    TokenAdaptAugment(model, augments=[CROP], precision=precision)(batch(**others))
    assert set(seen) == {expected} and len(seen) >= 2


def test_networks_follow_autocast_where_the_batch_says_nothing() -> None:
    model, seen = network(), []
    model.reversal.head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    augment = TokenAdaptAugment(model, augments=[CROP])
    with torch.autocast("cpu", torch.bfloat16):
        augment(batch())
    augment(batch())
    assert seen == [torch.bfloat16, torch.float32]


def test_augmentations_run_in_float32_whatever_the_networks_do() -> None:
    augment, seen = TokenAdaptAugment(network(**WHOLE), precision="bfloat16"), []
    augment.children.append(lambda results: seen.append((results["inputs"] @ results["inputs"]).dtype) or results)
    with torch.autocast("cpu", torch.bfloat16):
        augment(batch())
    assert seen == [torch.float32]


def test_moments_of_a_regression_stay_float32_under_bfloat16() -> None:
    model = network(codebook_size=None, **{"out_grid": GRID})
    nn.init.zeros_(model.reversal.head.weight)
    model.mean.fill_(1000.3)
    augment = TokenAdaptAugment(model, precision="bfloat16")
    values = augment({"inputs": torch.zeros(2, D, GRID, GRID)})["inputs"]
    torch.testing.assert_close(values, torch.full_like(values, 1000.3), atol=1e-3, rtol=0)


def test_nothing_has_a_gradient() -> None:
    model = network(codebook_size=None)
    values = torch.randn(2, D, GRID, GRID, requires_grad=True)
    assert not TokenAdaptAugment(model, augments=[CROP])({"inputs": values})["inputs"].requires_grad
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())


def test_another_codebook_is_looked_up_anew() -> None:
    augment, first, second = TokenAdaptAugment(network(), augments=[CROP]), batch(), batch()
    expected = TokenAdaptAugment(network(), augments=[CROP])({**second, "codebook": -second["codebook"]})["inputs"]
    before = augment(first)["inputs"]
    assert not torch.equal(before, expected)
    first = batch()
    assert torch.equal(augment({**first, "codebook": -first["codebook"]})["inputs"], expected)


def test_a_codebook_that_changed_in_place_is_looked_up_anew() -> None:
    augment, results = TokenAdaptAugment(network(), augments=[CROP]), batch()
    codebook = results["codebook"]
    augment(dict(results))
    codebook.neg_()
    expected = TokenAdaptAugment(network(), augments=[CROP])(dict(results))["inputs"]
    assert torch.equal(augment(dict(results))["inputs"], expected)


def test_a_larger_batch_takes_no_more_calls(count_calls: Callable) -> None:
    augment = TokenAdaptAugment(network(), augments=[CROP])
    augment(batch())  # sees the codebook
    assert count_calls(lambda: augment(batch(32))) == count_calls(lambda: augment(batch(4)))


# Reading the weights


def test_weights_are_read_when_they_are_first_needed(checkpoint: Path) -> None:
    augment = TokenAdaptAugment(SIZES, str(checkpoint), [CROP])
    assert torch.equal(augment(batch())["inputs"], TokenAdaptAugment(network(), augments=[CROP])(batch())["inputs"])
    checkpoint.unlink()
    augment(batch())


def test_a_missing_file_matters_only_when_it_is_needed(tmp_path: Path) -> None:
    augment = TokenAdaptAugment(SIZES, tmp_path / "none.pth", [CROP])
    with pytest.raises(FileNotFoundError, match=r"none.pth does not exist; train one .*, or convert the authors'"):
        augment(batch())


def test_reading_draws_nothing(checkpoint: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    TokenAdaptAugment(SIZES, checkpoint).load()
    assert torch.equal(torch.rand(4), expected)


def test_the_checkpoint_of_a_training_run_is_read(tmp_path: Path) -> None:
    results = batch()
    path = save(tmp_path / "epoch_1.pth", network(), "token_adapt.", codebook=results["codebook"])
    found = TokenAdaptAugment(SIZES, path, [CROP])(batch())["inputs"]
    assert torch.equal(found, TokenAdaptAugment(network(), augments=[CROP])(batch())["inputs"])


def test_weights_trained_with_another_codebook_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "epoch_1.pth", network(), "token_adapt.", codebook=torch.randn(K, D))
    with pytest.raises(
        ValueError, match=r"epoch_1.pth and the data belong to different tokenizers: codebook_sha256 [0-9a-f]{12} and"
    ):
        TokenAdaptAugment(SIZES, path, [CROP])(batch())


def test_weights_of_other_sizes_are_refused(checkpoint: Path) -> None:
    with pytest.raises(
        ValueError, match=r"wrong shapes: .* \(16,\) where .*\(32,\), .* or set token_adapt to the sizes that"
    ):
        TokenAdaptAugment({**SIZES, "dims": 32}, checkpoint).load()


def test_unconverted_weights_of_the_authors_are_refused(tmp_path: Path) -> None:
    torch.save({"conversion_function.0.weight": torch.zeros(16, D)}, tmp_path / "release.pth")
    with pytest.raises(ValueError, match=r"no key in common .* does it need tools/convert_checkpoint.py\?"):
        TokenAdaptAugment(SIZES, tmp_path / "release.pth").load()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    model = network()
    model.reversal.head.weight.data[0, 0] = value
    path = save(tmp_path / "broken.pth", model)
    with pytest.raises(ValueError, match=r"broken.pth holds values that are NaN or infinite in reversal.head.weight"):
        TokenAdaptAugment(SIZES, path).load()


def test_random_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="random ones scramble every token; set its `checkpoint`"):
        TokenAdaptAugment(SIZES)(batch())


def test_a_network_and_a_checkpoint_are_refused_together() -> None:
    with pytest.raises(ValueError, match="is a network already; leave out the checkpoint x"):
        TokenAdaptAugment(network(), "x.pth")


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision must be 'auto', 'float32' or 'bfloat16', got 'half'"):
        TokenAdaptAugment(SIZES, precision="half")


# Data that does not fit

FACTS = dict(grid=[GRID, GRID], channels=None, codebook_size=K)


def test_data_that_fits_is_taken_and_the_weights_read(checkpoint: Path) -> None:
    augment, codebook = TokenAdaptAugment(SIZES, checkpoint, [CROP]), batch()["codebook"]
    augment.prepare(FACTS, "STORE", codebook, codebook_sha256(codebook))
    checkpoint.unlink()
    augment(batch())


NETWORK = {key: value for key, value in SIZES.items() if key not in ("codebook_size", "code_dim", "grid")}


def test_sizes_that_the_config_does_not_state_come_from_the_data(checkpoint: Path) -> None:
    stated, results = TokenAdaptAugment(SIZES, checkpoint, [CROP]), batch()
    expected = stated({**results})["inputs"]
    prepared, unprepared = (TokenAdaptAugment(NETWORK, checkpoint, [CROP]) for _ in range(2))
    prepared.prepare(FACTS, "STORE", results["codebook"])
    for augment in (prepared, unprepared):  # training of other projects may not prepare
        assert torch.equal(augment({**results})["inputs"], expected)
        assert augment.load().grid == (GRID, GRID)


def test_grid_that_the_data_set_does_not_tell_comes_with_the_first_batch(checkpoint: Path) -> None:
    augment, results = TokenAdaptAugment(NETWORK, checkpoint, [CROP]), batch()
    expected = TokenAdaptAugment(SIZES, checkpoint, [CROP])({**results})["inputs"]
    augment.prepare({}, "SOMEBODY'S DATA", results["codebook"])
    assert torch.equal(augment({**results})["inputs"], expected)
    with pytest.raises(FileNotFoundError, match=r"checkpoint none\.pth does not exist"):
        TokenAdaptAugment(NETWORK, "none.pth").prepare({}, "SOMEBODY'S DATA", results["codebook"])


def test_sizes_of_coefficients_come_from_the_data(tmp_path: Path) -> None:
    path = save(tmp_path / "dct.pth", network(codebook_size=None))
    augment, values = TokenAdaptAugment(NETWORK, path, [CROP]), torch.randn(5, D, GRID, GRID)
    expected = TokenAdaptAugment({**SIZES, "codebook_size": None}, path, [CROP])({"inputs": values})["inputs"]
    augment.prepare({**FACTS, "channels": D}, "STORE")
    for one in (augment, TokenAdaptAugment(NETWORK, path, [CROP])):
        assert torch.equal(one({"inputs": values})["inputs"], expected)


def test_data_of_another_tokenizer_are_refused_where_no_size_is_stated(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"wrong shapes: .* Use one that was trained on tokens of this tokenizer"):
        TokenAdaptAugment(NETWORK, checkpoint).prepare(
            {**FACTS, "codebook_size": K + 1}, "STORE", torch.zeros(K + 1, D)
        )


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (dict(spatial=False), "STORE holds tokens without a spatial grid: .* nothing to flip, crop or turn"),
        (dict(grid=[4, 5]), "STORE holds grids of 4 x 5 tokens, TokenAdapt converts 8 x 8; .* set token_adapt.grid"),
        (dict(codebook_size=21), "STORE has 21 codes, TokenAdapt takes 20; use one that was trained on tokens of"),
        (
            dict(channels=8),
            "STORE holds 8 values per token and no codes, .* that was trained with codebook_size",
        ),
    ],
)
def test_data_that_does_not_fit_is_refused(checkpoint: Path, facts: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenAdaptAugment(SIZES, checkpoint).prepare({**FACTS, **facts}, "STORE", torch.zeros(K, D))


def test_tokens_without_a_spatial_grid_are_refused_before_the_file_is_read() -> None:
    with pytest.raises(ValueError, match="without a spatial grid"):
        TokenAdaptAugment(SIZES, "none.pth").prepare({**FACTS, "spatial": False}, "STORE")


def test_a_codebook_of_other_values_is_refused() -> None:
    with pytest.raises(ValueError, match="STORE has 9 values per token, TokenAdapt takes 8"):
        TokenAdaptAugment(network()).prepare(FACTS, "STORE", torch.zeros(K, D + 1))


def test_channels_of_a_regression_must_fit() -> None:
    augment = TokenAdaptAugment(network(codebook_size=None))
    augment.prepare({**FACTS, "channels": D}, "STORE")
    with pytest.raises(ValueError, match="STORE has 12 values per token, TokenAdapt takes 8"):
        augment.prepare({**FACTS, "channels": 12}, "STORE")


def test_another_codebook_is_refused_before_training(tmp_path: Path) -> None:
    trained_with = torch.randn(K, D)
    augment = TokenAdaptAugment(SIZES, save(tmp_path / "run.pth", network(), "token_adapt.", codebook=trained_with))
    augment.prepare(FACTS, "STORE", trained_with, codebook_sha256(trained_with))
    with pytest.raises(ValueError, match="belong to different tokenizers"):
        augment.prepare(FACTS, "STORE", -trained_with, codebook_sha256(-trained_with))


def test_codes_without_a_codebook_are_refused() -> None:
    with pytest.raises(ValueError, match=r"inputs are torch\.int64 codes and the batch has no `codebook`"):
        TokenAdaptAugment(network())({"inputs": batch()["inputs"]})


def test_a_crop_that_does_not_fit_names_what_to_set() -> None:
    with pytest.raises(ValueError, match=r"maps of 12 x 12 positions .* was given 16 x 16; set token_adapt.out_grid"):
        TokenAdaptAugment(network())(batch())


# Outside of everything that is trained or saved


@pytest.fixture
def build_model(checkpoint: Path) -> Callable[..., MTM]:
    """A small MTM whose data preprocessor augments through TokenAdapt, or does not."""

    def build(with_adapt: bool = True) -> MTM:
        arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
        decoder = dict(embed_dims=16, decoder_embed_dims=8, num_layers=1, num_heads=2)
        codes = dict(codebook_size=K, code_dim=D)
        augment = dict(
            type="seitpp.TokenAdaptAugment",
            token_adapt=dict(SIZES),
            checkpoint=str(checkpoint),
            augments=[dict(type="seitpp.BatchRandomFlip", prob=0.5), CROP],
        )
        plain = [dict(type="seitpp.TokenRRC", size=OUT_GRID)]
        preprocessor = dict(
            type="seitpp.TokenDataPreprocessor",
            codebook=batch()["codebook"],
            augments=[dict(type="seitpp.SplitBatch", first=plain, second=[augment])] if with_adapt else plain,
            with_data_samples=False,
        )
        torch.manual_seed(0)
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            model = MODELS.build(
                dict(
                    type="seitpp.MTM",
                    backbone=dict(type="seitpp.MTMViT", arch=arch, grid_size=OUT_GRID, patch_size=2, **codes),
                    neck=dict(type="seitpp.MTMPretrainDecoder", num_patches=(OUT_GRID // 2) ** 2, **decoder),
                    head=dict(type="seitpp.MTMPretrainHead", decoder_embed_dims=8, **codes),
                    data_preprocessor=preprocessor,
                )
            )
        return model

    return build


def adapts(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, TokenAdapt)]


def train(model: MTM) -> Tensor:
    data = model.data_preprocessor(batch(), training=True)
    loss = model(**data, mode="loss")["loss"]
    loss.backward()
    return loss


def test_a_model_trains_with_it_and_does_not_contain_it(build_model: Callable) -> None:
    model, plain = build_model(), build_model(with_adapt=False)
    assert train(model).isfinite()
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert not adapts(model)
    optimizer = torch.optim.AdamW(model.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(plain.parameters()))


@pytest.mark.parametrize("used", [False, True], ids=["unread", "read"])
def test_the_average_of_weights_shares_it_and_does_not_contain_it(build_model: Callable, used: bool) -> None:
    model = build_model()
    if used:
        train(model)
    average = ExponentialMovingAverage(model)
    average.update_parameters(model)
    assert not adapts(average)
    assert average.module.state_dict().keys() == model.state_dict().keys()
    ours, theirs = (part.data_preprocessor.augments.transforms[0].children[-1] for part in (model, average.module))
    assert isinstance(ours, TokenAdaptAugment) and ours is not theirs and ours.load() is theirs.load()


def test_distributed_buckets_do_not_contain_it(build_model: Callable, tmp_path: Path) -> None:
    model, plain = build_model(), build_model(with_adapt=False)
    train(model)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        found, expected = (len(DistributedDataParallel(part)._module_parameters) for part in (model, plain))
    finally:
        dist.destroy_process_group()
    assert found == expected


def test_a_copy_of_the_data_preprocessor_works(build_model: Callable) -> None:
    model = build_model()
    train(model)
    copied = copy.deepcopy(model.data_preprocessor)
    results = []
    for preprocessor in (model.data_preprocessor, copied):
        torch.manual_seed(0)
        results.append(preprocessor(batch(), training=True)["inputs"])
    assert torch.equal(*results)


def test_validation_does_not_need_the_file(build_model: Callable, checkpoint: Path) -> None:
    model = build_model()
    checkpoint.unlink()
    data = model.data_preprocessor({**batch(), "inputs": batch()["inputs"][:, 1:7, 1:7]}, training=False)
    assert data["inputs"].shape == (5, OUT_GRID, OUT_GRID)


def test_another_grid_than_that_of_the_training_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr("seitpp.augment.token_adapt.print_log", lambda text, *_args: told.append(text))
    for stored in (list(network().grid), [30, 31]):
        meta = {"token_grid": {"stored": stored, "kept": list(network().out_grid)}}
        torch.save({"meta": meta, "state_dict": network().state_dict()}, tmp_path / "adapt.pth")
        TokenAdaptAugment(SIZES, tmp_path / "adapt.pth").load()
    (line,) = told
    assert "adapt.pth converts another grid here: it was trained on grids of 30 x 31 tokens and is given" in line
