"""Composition: parts of a batch, one of several, now and then, back to codes; and finding what is inside."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform, Compose
from mmengine.registry import DefaultScope
from torch import Tensor

from seitpp.augment import ColorAdapt, OneOf, RandomApply, SplitBatch, ToCodes
from seitpp.registry import TRANSFORMS
from seitpp.structures.transform_tree import walk
from seitpp.tokenizers.codebook import nearest_codes

K, D, H, W, CLASSES = 20, 4, 6, 5, 3


@TRANSFORMS.register_module()
class Mark(BaseTransform):
    """Test transform: leaves its name in the list `seen`, and replaces keys by functions of the batch."""

    def __init__(self, name: str = "", **replace: Callable[[dict], object]) -> None:
        self.name, self.replace = name, replace

    def transform(self, results: dict) -> dict:
        results["seen"].append((self.name, len(results["inputs"])))
        return {**results, **{key: make(results) for key, make in self.replace.items()}}


def mark(name: str = "", **replace: Callable) -> dict:
    return dict(type="seitpp.Mark", name=name, **replace)


EMBED = mark("embed", inputs=lambda batch: F.embedding(batch["inputs"].long(), batch["codebook"]).permute(0, 3, 1, 2))
SCORES = mark("scores", gt_score=lambda batch: torch.full((len(batch["inputs"]), CLASSES), 1 / CLASSES))
ADD = mark("add", inputs=lambda batch: batch["inputs"] + 100)


def toy_batch(batch_size: int = 8, dtype: torch.dtype = torch.int64, **more: object) -> dict:
    codes = torch.randint(0, K, (batch_size, H, W), generator=torch.Generator().manual_seed(0))
    return {
        "inputs": codes.to(dtype),
        "codebook": torch.randn(K, D, generator=torch.Generator().manual_seed(1)),
        "sample_idx": torch.arange(batch_size),
        "gt_label": torch.arange(batch_size) % CLASSES,
        "num_classes": CLASSES,
        "seen": [],
        **more,
    }


def embedded(batch: dict) -> Tensor:
    return F.embedding(batch["inputs"].long(), batch["codebook"]).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("batch_size", "share", "count"), [(8, 0.5, 4), (7, 0.5, 4), (8, 0.3, 2), (5, 0.3, 2)])
def test_first_samples_go_one_way_and_the_rest_the_other(batch_size: int, share: float, count: int) -> None:
    batch = toy_batch(batch_size)
    results = SplitBatch([ADD], [mark("rest")], share)(dict(batch))
    assert torch.equal(results["inputs"][:count], batch["inputs"][:count] + 100)
    assert torch.equal(results["inputs"][count:], batch["inputs"][count:])
    assert batch["seen"] == [("add", count), ("rest", batch_size - count)]


def test_samples_keep_their_order_and_their_labels_when_each_is_drawn() -> None:
    batch = toy_batch(16, gt_sem_seg=torch.arange(16).view(16, 1, 1).expand(16, 12, 10))
    torch.manual_seed(0)
    results = SplitBatch([ADD], [], by="probability")(dict(batch))
    added = (results["inputs"] != batch["inputs"]).flatten(1).all(dim=1)
    assert 0 < added.sum() < 16
    assert torch.equal(results["inputs"], batch["inputs"] + 100 * added.view(16, 1, 1))
    for key in ("sample_idx", "gt_label", "gt_sem_seg"):
        assert torch.equal(results[key], batch[key])


def test_share_of_samples_that_are_drawn() -> None:
    torch.manual_seed(0)
    batch = toy_batch(4000)
    SplitBatch([mark("one")], [mark("other")], 0.3, by="probability")(batch)
    counts = dict(batch["seen"])
    assert abs(counts["one"] / 4000 - 0.3) < 0.03 and counts["one"] + counts["other"] == 4000


@pytest.mark.parametrize("by", ["half", "probability"])
@pytest.mark.parametrize(("share", "seen"), [(0, [("second", 3)]), (1, [("first", 3)])])
def test_empty_part_is_left_out(by: str, share: float, seen: list) -> None:
    batch = toy_batch(3)
    SplitBatch([mark("first")], [mark("second")], share, by)(batch)
    assert batch["seen"] == seen


def test_single_sample_goes_one_way() -> None:
    batch = toy_batch(1)
    results = SplitBatch([mark("first")], [mark("second")])(dict(batch))
    assert batch["seen"] == [("first", 1)] and torch.equal(results["inputs"], batch["inputs"])
    torch.manual_seed(0)
    for _ in range(20):
        SplitBatch([mark("first")], [mark("second")], by="probability")(dict(batch))
    assert set(batch["seen"]) == {("first", 1), ("second", 1)}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int64])
@pytest.mark.parametrize("by", ["half", "probability"])
def test_parts_without_transforms_give_the_batch_back(dtype: torch.dtype, by: str) -> None:
    batch = toy_batch(dtype=dtype)
    results = SplitBatch([], [], by=by)(dict(batch))
    assert results.keys() - {"split"} == batch.keys() and results["inputs"].dtype == dtype
    for key in ("inputs", "sample_idx", "gt_label"):
        assert torch.equal(results[key].long(), batch[key].long())
    assert results["codebook"] is batch["codebook"] and results["num_classes"] == CLASSES


@pytest.mark.parametrize("first_embeds", [True, False])
@pytest.mark.parametrize("by", ["half", "probability"])
def test_codes_of_one_part_are_looked_up_where_the_other_has_embeddings(first_embeds: bool, by: str) -> None:
    batch = toy_batch(dtype=torch.uint8)
    parts = [[EMBED], []] if first_embeds else [[], [EMBED]]
    torch.manual_seed(0)
    assert torch.equal(SplitBatch(*parts, by=by)(dict(batch))["inputs"], embedded(batch))


def test_codes_without_a_codebook_cannot_join_embeddings() -> None:
    batch = toy_batch()
    codebook = batch.pop("codebook")
    embed = mark(inputs=lambda batch: F.embedding(batch["inputs"], codebook).permute(0, 3, 1, 2))
    with pytest.raises(
        ValueError, match="one part of SplitBatch ends with codes and the other with embeddings, and the"
    ):
        SplitBatch([embed], [])(batch)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_codes_of_two_types_become_int64(dtype: torch.dtype) -> None:
    batch = toy_batch(dtype=dtype)
    results = SplitBatch([EMBED, dict(type="seitpp.ToCodes")], [])(dict(batch))
    assert results["inputs"].dtype == torch.int64 and torch.equal(results["inputs"], batch["inputs"].long())


def test_labels_of_one_part_become_soft_where_the_other_has_mixed() -> None:
    batch = toy_batch(4)
    results = SplitBatch([SCORES], [])(batch)
    expected = torch.cat([torch.full((2, CLASSES), 1 / CLASSES), F.one_hot(batch["gt_label"][2:], CLASSES).float()])
    torch.testing.assert_close(results["gt_score"], expected)
    torch.testing.assert_close(results["gt_score"].sum(dim=1), torch.ones(4))


def test_soft_targets_without_a_number_of_classes_are_refused() -> None:
    batch = toy_batch(4)
    del batch["num_classes"]
    with pytest.raises(ValueError, match="set the data preprocessor's num_classes"):
        SplitBatch([], [SCORES])(batch)


def test_parts_of_other_sizes_are_refused() -> None:
    smaller = mark(inputs=lambda batch: batch["inputs"][:, :3])
    with pytest.raises(ValueError, match=r"'inputs' of \(3, 5\) and \(6, 5\) per sample, .* end both with the same"):
        SplitBatch([smaller], [])(toy_batch())


def test_label_maps_of_other_sizes_are_refused() -> None:
    smaller = mark(gt_sem_seg=lambda batch: batch["gt_sem_seg"][:, :3])
    with pytest.raises(ValueError, match=r"'gt_sem_seg' of \(9, 9\) and \(3, 9\) per sample"):
        SplitBatch([], [smaller])(toy_batch(gt_sem_seg=torch.zeros(8, 9, 9)))


def test_key_that_one_part_removes_is_refused() -> None:
    with pytest.raises(ValueError, match="only one part of SplitBatch ends with 'gt_label'"):
        SplitBatch([mark(gt_label=lambda _: None)], [])(toy_batch())


@pytest.mark.parametrize("by", ["half", "probability"])
def test_split_makes_no_call_a_sample(by: str, count_calls: Callable) -> None:
    transform = SplitBatch([EMBED], [dict(type="seitpp.ColorAdapt", prob=1)], by=by)
    torch.manual_seed(0)
    assert count_calls(lambda: transform(toy_batch(16))) == count_calls(lambda: transform(toy_batch(256)))


@pytest.mark.parametrize(("probs", "shares"), [(None, (0.5, 0.5)), ([0.25, 0.5], (0.25, 0.5)), ([0, 1], (0, 1))])
def test_one_choice_a_batch_with_its_probability(probs: list | None, shares: tuple) -> None:
    batch = toy_batch()
    transform = OneOf([mark("a"), [mark("b"), mark("c")]], probs)
    torch.manual_seed(0)
    for _ in range(1000):
        transform(dict(batch))
    names = [name for name, _ in batch["seen"]]
    assert abs(names.count("a") / 1000 - shares[0]) < 0.05 and abs(names.count("b") / 1000 - shares[1]) < 0.05
    assert names.count("c") == names.count("b")


@pytest.mark.parametrize("probs", [[0.1] * 10, [1 / 3] * 3, [0.7, 0.2, 0.1 + 5e-7]])
def test_probabilities_that_sum_to_one_but_for_rounding_leave_nothing_over(
    probs: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(1 - 2**-53, dtype=torch.float64))
    batch = toy_batch()
    OneOf([mark(str(number)) for number in range(len(probs))], probs)(batch)
    assert [name for name, _ in batch["seen"]] == [str(len(probs) - 1)]


@pytest.mark.parametrize(
    ("probs", "message"),
    [
        ([0.75, 0.5], r"probs are \[0\.75, 0\.5\] with the sum 1\.25, expected at least 0 each and 1 in all"),
        ([0.5, 0.50001], r"with the sum 1\.00001"),
        ([1.5, -0.5], r"probs are \[1\.5, -0\.5\] with the sum 1,"),
        ([float("nan"), 0.5], "with the sum nan"),
        ([1.0], r"probs are \[1\.0\] for 2 transforms"),
    ],
)
def test_wrong_probabilities_are_refused(probs: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OneOf([mark(), mark()], probs)


def test_no_choice_is_refused() -> None:
    with pytest.raises(ValueError, match="transforms is empty"):
        OneOf([])


def test_random_apply_takes_the_whole_batch_or_nothing() -> None:
    batch = toy_batch()
    torch.manual_seed(0)
    for _ in range(1000):
        RandomApply([mark("a"), mark("b")], 0.3)(dict(batch))
    assert abs(len(batch["seen"]) / 2000 - 0.3) < 0.05
    assert {size for _, size in batch["seen"]} == {8}
    assert RandomApply(mark(), 0)(batch) is batch


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SplitBatch([], [], share=1.5), r"share must be a probability .* got 1\.5"),
        (lambda: SplitBatch([], [], by="sample"), "by must be 'half', 'probability' or 'same', got 'sample'"),
        (lambda: RandomApply([], prob=-1), "prob must be a probability .* got -1"),
    ],
)
def test_wrong_option_is_refused(build: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_embeddings_become_the_nearest_codes_and_codes_stay() -> None:
    batch = toy_batch()
    maps = embedded(batch) + 0.1
    found = ToCodes()({**batch, "inputs": maps})["inputs"]
    assert torch.equal(found, nearest_codes(maps.permute(0, 2, 3, 1), batch["codebook"]))
    assert ToCodes()(dict(batch))["inputs"] is batch["inputs"]


def test_embeddings_without_a_codebook_have_no_nearest_codes() -> None:
    batch = toy_batch()
    maps = embedded(batch)
    del batch["codebook"]
    with pytest.raises(ValueError, match="ToCodes looks for the nearest codes, and the batch has no `codebook`"):
        ToCodes()({**batch, "inputs": maps})


def test_draws_depend_on_the_seed_alone() -> None:
    transform = SplitBatch([dict(type="seitpp.EmbNoise")], [dict(type="seitpp.ColorAdapt")], by="probability")
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(transform(toy_batch())["inputs"])
    assert torch.equal(*found)


@pytest.mark.parametrize("scope", ["mmpretrain", "mmseg"])
def test_parts_are_found_in_the_scope_of_another_project(scope: str) -> None:
    color = dict(type="seitpp.ColorAdapt", prob=1)
    with DefaultScope.overwrite_default_scope(scope):
        built = TRANSFORMS.build(
            dict(
                type="seitpp.SplitBatch",
                first=[dict(type="seitpp.OneOf", transforms=[color, [color]])],
                second=[dict(type="seitpp.RandomApply", transforms=[color], prob=1), dict(type="seitpp.ToCodes")],
            )
        )
    assert sum(isinstance(transform, ColorAdapt) for transform in walk([built])) == 3
    assert built(toy_batch())["inputs"].shape == (8, D, H, W)


def test_walk_reaches_everything_in_order() -> None:
    inner = OneOf([mark("b"), [mark("c"), mark("d")]])
    outer = Compose(
        [Mark("a"), Compose([inner]), SplitBatch([mark("e")], [dict(type="seitpp.RandomApply", transforms=mark("f"))])]
    )
    module = torch.nn.Linear(1, 1)  # its `children` is a method
    found = [getattr(transform, "name", type(transform).__name__) for transform in walk([outer, module])]
    assert found == ["a", "OneOf", "b", "c", "d", "SplitBatch", "e", "RandomApply", "f", "Linear"]


def test_they_show_what_is_inside() -> None:
    built = SplitBatch(
        [dict(type="seitpp.OneOf", transforms=[dict(type="seitpp.EmbNoise")])],
        [dict(type="seitpp.RandomApply", transforms=[dict(type="seitpp.ToCodes")])],
    )
    assert repr(built) == (
        "SplitBatch(first=[OneOf(transforms=[[EmbNoise(std=1.0, channel_std=1.0, prob=0.5, relative=False)]], "
        "probs=[1.0])], "
        "second=[RandomApply(transforms=[ToCodes()], prob=0.5)], share=0.5, by='half')"
    )


@pytest.mark.parametrize("by", ["half", "probability"])
def test_steps_of_the_same_parts_stand_around_a_step_of_all(by: str) -> None:
    """`by="same"` repeats the parts whatever stands between, and also where one part is empty."""
    torch.manual_seed(0)
    pipeline = Compose(
        [
            SplitBatch([ADD], [], by=by),
            TRANSFORMS.build(mark("all")),
            SplitBatch([ADD], [mark("rest")], by="same"),
        ]
    )
    for batch_size in (1, 2, 7, 8):
        batch = toy_batch(batch_size)
        found = pipeline(dict(batch))
        added = found["inputs"] - batch["inputs"]
        first = found["split"]
        assert (added == torch.where(first, 200, 0)[:, None, None]).all()
        assert ("all", batch_size) in found["seen"]
        assert torch.equal(found["sample_idx"], batch["sample_idx"])


def test_same_parts_need_a_split_of_this_batch() -> None:
    same = SplitBatch([ADD], [], by="same")
    for more in ({}, {"split": torch.ones(5, dtype=torch.bool)}):
        with pytest.raises(ValueError, match=r"no SplitBatch has divided this batch of 8 samples; put one .* before"):
            same(toy_batch(**more))


def test_a_part_does_not_know_how_the_whole_was_divided() -> None:
    """Whether the part is the whole batch or not, so that a wrong pipeline fails at its first step."""
    inner = dict(type="seitpp.SplitBatch", by="same", first=[], second=[])
    for share in (0.0, 0.5, 1.0):
        pipeline = Compose([SplitBatch([], []), SplitBatch([inner], [inner], share=share)])
        with pytest.raises(ValueError, match="no SplitBatch has divided this batch"):
            pipeline(toy_batch())
