"""What stops a classifier before it sees classes that are not its own, and what the log says of classes."""

import copy
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import make_codebook, make_release
from seitpp.engine.guards.classes import _check_ignored, _check_several_classes, _compare_shifts
from seitpp.storage import StoreWriter
from seitpp.structures.class_names import class_difference, is_wordnet_order

NAMES = ["ant", "bee", "cow", "dog"]
BASES = (
    "models/mtm-classifier_vit-tiny-p2.py",
    "datasets/digits_tokens.py",
    "schedules/finetune_adamw_8xb128-100e.py",
    "default_runtime.py",
)
WORDNET = [f"n0000000{number}" for number in range(4)]


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (NAMES, None),
        (["ant", "bee", "dog"], "1 missing ('cow')"),
        ([*NAMES, "eel"], "1 not expected ('eel')"),
        (["ant", "bat", "bee", "dog"], "1 missing ('cow'), 1 not expected ('bat')"),
        (["ant", "cow", "bee", "dog"], "the same names in another order, of which class 1 is 'cow', expected 'bee'"),
        ([*NAMES, "ant"], "some names occur more than once: there are 5, expected 4"),
        ("abcdef", "4 missing ('ant', 'bee', 'cow', 'dog'), 6 not expected ('a', 'b', 'c', 'd' and 2 more)"),
    ],
    ids=["same", "missing", "extra", "both", "order", "twice", "all"],
)
def test_difference_in_words(found: Sequence[str], difference: str | None) -> None:
    assert class_difference(NAMES, found) == difference


def test_order_that_goes_without_saying() -> None:
    assert is_wordnet_order(WORDNET)
    assert not is_wordnet_order(WORDNET[::-1])
    assert not is_wordnet_order(NAMES)


def write_store(path: Path, classes: Sequence[str] | None, labels: Sequence[int] = (0, 1, 2, 3)) -> None:
    options = dict(codebook_size=8, grid=(4, 4), tokenizer={"name": "none"}, codebook=make_codebook(8, 4))
    options["label_dtype"] = "uint8" if classes is None else None
    with StoreWriter(path, **options, label_kind="class", classes=classes) as writer:
        writer.append(np.zeros((len(labels), 4, 4), int), np.array(labels))


@pytest.fixture
def config(repository: Path, tmp_path: Path) -> Config:
    """A tiny classifier of four classes, on stores `train` and `val` in the test's folder."""
    for name in ("train", "val"):
        write_store(tmp_path / name, NAMES)
    (tmp_path / "leaf.py").write_text(f"_base_ = {[str(repository / 'configs' / '_base_' / name) for name in BASES]}")
    cfg = Config.fromfile(tmp_path / "leaf.py")
    cfg.data_preprocessor.update(codebook=str(tmp_path / "train"), num_classes=4)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[name].dataset.data_root = str(tmp_path)
    cfg.model.backbone.codebook_size = 8
    cfg.model.head.num_classes = 4
    cfg.val_evaluator[0].topk = cfg.test_evaluator[0].topk = (1,)
    return shrink(cfg, tmp_path, epochs=1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one checkpoint lies that tests load."""
    return tmp_path_factory.mktemp("trained") / "epoch_1.pth"


@pytest.fixture
def trained(config: Config, build_runner: Callable[[Config], Runner], kept: Path, tmp_path: Path) -> Config:
    """The config after training, to load the checkpoint."""
    if not kept.exists():
        build_runner(copy.deepcopy(config)).train()
        shutil.copy(Path(config.work_dir) / "epoch_1.pth", kept)
    config.load_from = shutil.copy(kept, str(tmp_path / "trained.pth"))
    return config


def use(cfg: Config, path: Path, classes: Sequence[str] | None, labels: Sequence[int] = (0, 1, 2, 3)) -> None:
    """Test on, and train on, a store of these classes."""
    write_store(path, classes, labels)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[name].dataset.update(data_root="", store=str(path))


@pytest.fixture
def said(build_runner: Callable[[Config], Runner]) -> Callable[..., list[tuple[str, str]]]:
    """Level and text of what a run says about classes."""

    def lines(cfg: Config, stage: str = "test") -> list[tuple[str, str]]:
        cfg.default_hooks.summary = None  # which names classes in every run
        runner, found = build_runner(copy.deepcopy(cfg)), []
        for level in ("info", "warning"):
            setattr(runner.logger, level, lambda text, level=level: found.append((level, text)))
        try:
            getattr(runner, stage)()
        finally:
            del runner.logger.info, runner.logger.warning
        told = [(level, text) for level, text in found if not text.startswith("this run\n")]
        return [(level, text) for level, text in told if "class k" in text or " classes " in text]

    return lines


def test_same_classes_are_not_worth_a_word(trained: Config, said: Callable) -> None:
    assert said(trained) == []


OTHER_ORDER = (["ant", "cow", "bee", "dog"], "another order, of which class 1 is 'cow', expected 'bee'")


@pytest.mark.parametrize(
    ("classes", "difference", "stage"),
    [
        (["ant", "bat", "bee", "dog"], r"1 missing \('cow'\), 1 not expected \('bat'\)", "test"),
        ([*NAMES, "eel"], r"1 not expected \('eel'\)", "test"),
        *((*OTHER_ORDER, stage) for stage in ("test", "train", "resume")),
    ],
)
def test_other_classes_are_refused(
    trained: Config, build_runner: Callable, tmp_path: Path, classes: list[str], difference: str, stage: str
) -> None:
    use(trained, tmp_path / "other", classes)
    trained.resume = stage == "resume"
    runner = build_runner(trained)
    message = rf"other does not have the classes of checkpoint .*trained\.pth: .*{difference}"
    with pytest.raises(ValueError, match=message):
        getattr(runner, "test" if stage == "test" else "train")()
    assert runner.iter == 0


def test_refusal_says_what_to_do(trained: Config, build_runner: Callable, tmp_path: Path) -> None:
    use(trained, tmp_path / "other", NAMES[:3], labels=(0, 1, 2))
    with pytest.raises(ValueError, match=r"1 missing .*--classes FILE, which may name more .*compare_names=False$"):
        build_runner(trained).test()
    trained.default_hooks.class_guard.compare_names = False
    with pytest.raises(ValueError, match=r"has 3 classes, the head has 4"):  # another guard's
        build_runner(trained).test()


def test_names_may_be_left_uncompared(trained: Config, said: Callable, tmp_path: Path) -> None:
    use(trained, tmp_path / "other", NAMES[::-1])
    trained.default_hooks.class_guard.compare_names = False
    assert said(trained) == []


def test_data_without_names_are_scored_and_said(trained: Config, said: Callable, tmp_path: Path) -> None:
    use(trained, tmp_path / "nameless", None)
    ((level, text),) = said(trained)
    assert level == "warning"
    assert "nameless has no class names: its class k is taken for class k of checkpoint" in text


def of_benchmark(cfg: Config, path: Path, **metainfo: object) -> Config:
    """Test, validate and train on data whose two labels stand for three of the classes."""
    use(cfg, path, NAMES, labels=(0, 1, 1, 0))
    known = {"classes": ["insect", "cow"], "label_sets": [[0, 2], [1]], "model_classes": NAMES, **metainfo}
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        cfg[name].dataset.metainfo = known
    cfg.val_evaluator = cfg.test_evaluator = [{"type": "seitpp.MatchedAccuracy"}]
    return cfg


def test_robustness_sets_are_compared_by_the_classes_of_the_model(
    trained: Config, said: Callable, build_runner: Callable, tmp_path: Path
) -> None:
    assert said(of_benchmark(trained, tmp_path / "benchmark")) == []
    for dataloader in (trained.train_dataloader, trained.test_dataloader):
        dataloader.dataset.metainfo.model_classes = NAMES[::-1]
    with pytest.raises(ValueError, match=r"does not have the classes of checkpoint .*another order"):
        build_runner(trained).test()


@pytest.mark.parametrize("stage", ["val", "test"])
def test_robustness_sets_are_scored_by_their_own_metric(
    config: Config, build_runner: Callable, tmp_path: Path, stage: str
) -> None:
    of_benchmark(config, tmp_path / "benchmark")[f"{stage}_evaluator"].append({"type": "mmpretrain.Accuracy"})
    with pytest.raises(ValueError, match="benchmark is a robustness set, whose labels Accuracy takes for"):
        getattr(build_runner(config), stage)()


def test_robustness_sets_are_not_trained_on(config: Config, build_runner: Callable, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="opened as a robustness set, which is for tests; leave `benchmark` out"):
        build_runner(of_benchmark(config, tmp_path / "benchmark")).train()


def test_robustness_set_of_more_classes_than_the_head_is_refused(
    config: Config, build_runner: Callable, tmp_path: Path
) -> None:
    of_benchmark(config, tmp_path / "benchmark", label_sets=[[0], [4]])
    with pytest.raises(ValueError, match="is scored by the model's class 4, the head has 4 classes"):
        build_runner(config).test()


def test_checkpoint_without_names_takes_wordnet_order_for_granted(
    trained: Config, said: Callable, tmp_path: Path
) -> None:
    checkpoint = torch.load(trained.load_from, weights_only=False)
    checkpoint["meta"].pop("dataset_meta")  # as a converted one
    torch.save(checkpoint, trained.load_from)
    use(trained, tmp_path / "wordnet", WORDNET)
    ((level, text),) = said(trained)
    assert (level, text.split(": ")[0][-len("has no class names") :]) == ("info", "has no class names")
    use(trained, tmp_path / "plain", NAMES)
    ((level, _),) = said(trained)
    assert level == "warning"


def test_neither_side_has_names(config: Config, said: Callable, tmp_path: Path) -> None:
    release = make_release(tmp_path / "toy", num_samples=4, grid=(4, 4), codebook_size=8, code_dim=4)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        config[name].dataset.update(data_root="", store=str(release), grid=(4, 4), codebook_size=8)
    assert said(config, "train") == []
    config.load_from = str(Path(config.work_dir) / "epoch_1.pth")
    assert said(config) == []


def test_validation_of_other_classes_than_training_is_refused(
    config: Config, build_runner: Callable, tmp_path: Path
) -> None:
    write_store(tmp_path / "other", NAMES[::-1])
    config.val_dataloader.dataset.store = "other"
    runner = build_runner(config)
    with pytest.raises(ValueError, match=r"other does not have the classes of .*train: the same names in another"):
        runner.train()
    assert runner.iter == 0


def test_transfer_of_the_encoder_takes_any_classes(trained: Config, said: Callable, tmp_path: Path) -> None:
    use(trained, tmp_path / "flowers", ["rose", "tulip", "daisy", "lily"])
    trained.model.backbone.init_cfg = dict(type="Pretrained", checkpoint=trained.load_from, prefix="backbone.")
    trained.load_from = None
    assert said(trained, "train") == []


def test_head_of_another_size_is_not_kept(trained: Config, said: Callable, tmp_path: Path) -> None:
    use(trained, tmp_path / "more", ["rose", "tulip", "daisy"], labels=(0, 1, 2))
    trained.model.head.num_classes = trained.data_preprocessor.num_classes = 3
    trained.default_hooks.checkpoint_guard.strict = False
    trained.work_dir = str(tmp_path / "elsewhere")
    assert said(trained, "train") == []
    trained.model.head.num_classes = trained.data_preprocessor.num_classes = 4
    with pytest.raises(ValueError, match="does not have the classes of checkpoint"):
        said(trained, "train")


def test_classes_without_a_sample_are_said_once(config: Config, said: Callable, tmp_path: Path) -> None:
    write_store(tmp_path / "few", NAMES, labels=(1, 1, 3, 3))
    write_store(tmp_path / "fewer", None, labels=(2,))
    config.train_dataloader.dataset.store, config.val_dataloader.dataset.store = "few", "fewer"
    config.train_cfg.max_epochs = config.param_scheduler.end = 2
    assert [line for line in said(config, "train") if "class k" not in line[1]] == [
        ("warning", f"2 of 4 classes have no sample in {tmp_path}/few ('ant', 'cow'): training cannot teach them."),
        (
            "warning",
            f"3 of 4 classes have no sample in {tmp_path}/fewer (0, 1, 3): the score covers the others alone.",
        ),
    ]


def test_models_without_classes_are_left_alone(
    repository: Path, tmp_path: Path, said: Callable, build_runner: Callable
) -> None:
    cfg = Config.fromfile(repository / "configs" / "mtm" / "mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py")
    cfg.data_preprocessor.augments = []
    cfg = shrink(cfg, tmp_path, epochs=1)
    build_runner(copy.deepcopy(cfg)).train()
    cfg.load_from = str(Path(cfg.work_dir) / "epoch_1.pth")
    cfg.train_dataloader.dataset.metainfo = dict(classes=NAMES)
    assert said(cfg, "train") == []


class TestOneClass:
    @pytest.fixture
    def single(self, config: Config, tmp_path: Path) -> Config:
        for name in ("single-train", "single-val"):
            write_store(tmp_path / name, ["ant"], labels=(0, 0, 0, 0))
        config.train_dataloader.dataset.store, config.val_dataloader.dataset.store = "single-train", "single-val"
        config.model.head.num_classes = config.data_preprocessor.num_classes = 1
        return config

    def test_a_softmax_over_it_is_refused(self, single: Config, build_runner: Callable) -> None:
        with pytest.raises(ValueError, match=r"model\.head has one class, and a softmax over one class is always 1"):
            build_runner(single).train()

    def test_a_sigmoid_of_it_trains(self, single: Config, build_runner: Callable) -> None:
        single.model.head.loss = {"type": "CrossEntropyLoss", "use_sigmoid": True}
        _check_several_classes(build_runner(single).model)

    @pytest.mark.filterwarnings("ignore:threshold is not defined for binary")
    def test_a_segmentor_of_it_is_refused(self, tiny: Callable, repository: Path, build_runner: Callable) -> None:
        leaf = repository / "configs" / "segmentation" / "upernet_vit-tiny-p1_1xb8-4k_scenes-tokens.py"
        cfg = Config.fromfile(tiny(leaf))
        cfg.model.decode_head.num_classes = cfg.model.auxiliary_head.num_classes = 1
        with pytest.raises(ValueError, match=r"model\.decode_head has one class"):
            _check_several_classes(build_runner(cfg).model)


def label_maps(name: str, shifted: bool | None) -> SimpleNamespace:
    metainfo = {
        "label_ignore_index": 255,
        **({} if shifted is None else {"label_maps": {"reduce_zero_label": shifted}}),
    }
    return SimpleNamespace(store_path=name, metainfo=metainfo)


def test_label_maps_shifted_for_training_alone_are_refused() -> None:
    for train, val in ((True, False), (False, True)):
        shifted, plain = ("train", "val") if train else ("val", "train")
        with pytest.raises(
            ValueError, match=f"{shifted} was made with --reduce-zero-label and {plain} without, so that"
        ):
            _compare_shifts(label_maps("train", train), label_maps("val", val))
    for pair in ((True, True), (False, False), (None, True), (False, None)):
        _compare_shifts(*(label_maps(name, shifted) for name, shifted in zip(("train", "val"), pair, strict=True)))


def test_head_that_ignores_another_value_than_the_label_maps_is_refused() -> None:
    head = torch.nn.Module()
    _check_ignored(head, label_maps("train", None))  # a classifier's
    head.ignore_index = 255
    _check_ignored(head, label_maps("train", None))
    head.ignore_index = 0
    with pytest.raises(
        ValueError, match=r"decode_head.ignore_index is 0, but 255 means ignore in the label maps of train"
    ):
        _check_ignored(head, label_maps("train", None))
