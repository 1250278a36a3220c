"""Nearest neighbours: the search against a full sort, the vote by hand, and whole tests of checkpoints."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from helpers.config_files import dump_config
from helpers.shrinking import build_model, shrink
from seitpp.apis import FeatureExtractor
from seitpp.benchmarking.synthetic import make_codebook, make_store
from seitpp.engine import KNNBankHook, knn_bank
from seitpp.models import KNNHead
from seitpp.models.knn_head import nearest_rows, vote
from seitpp.registry import DATASETS

LEAVES = "knn_mtm_vit-base-p16_in1k-tokens", "knn_seit_vit-base-p16_in1k-tokens", "knn_mtm_vit-tiny-p2_digits-tokens"
KNN, KNN_SEIT, KNN_DIGITS = LEAVES


@pytest.fixture
def load(repository: Path, tmp_path: Path) -> Callable[..., Config]:
    """Loads a shrunken leaf with 7 samples in the bank, 8 to score."""

    def shrunken(name: str = KNN) -> Config:
        return shrink(Config.fromfile(next((repository / "configs").rglob(f"{name}.py"))), tmp_path, num_samples=7)

    return shrunken


def save_model(cfg: Config, path: Path, seed: int = 0) -> Path:
    """A checkpoint of random weights, none at its initial value."""
    torch.manual_seed(seed)
    model = build_model(cfg)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.normal_(std=0.3, generator=generator)
    torch.save({"meta": {}, "state_dict": model.state_dict()}, path)
    return path


@pytest.fixture
def mtm(load: Callable[..., Config], tmp_path: Path) -> Path:
    """A checkpoint of an MTM of the leaf's sizes."""
    return save_model(load("mtm_vit-base-p16_8xb512-400e_in1k-tokens"), tmp_path / "mtm.pth")


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.parametrize("bank_rows", [None, 1, 7, 60, 61])
@pytest.mark.parametrize("count", [1, 5, 300])
def test_nearest_rows_are_those_of_a_full_sort(count: int, bank_rows: int | None) -> None:
    queries, bank = unit(count, 6), unit(61, 6, seed=1)
    products, places = nearest_rows(queries, bank, 9, bank_rows)
    expected, order = (queries @ bank.T).sort(dim=1, descending=True)
    assert torch.equal(places, order[:, :9])
    assert torch.allclose(products, expected[:, :9], atol=1e-6)


def test_neighbours_do_not_depend_on_the_batch() -> None:
    """Not in a bit, although a product with one row alone may round otherwise."""
    queries, bank = unit(300, 64), unit(1000, 64, seed=1)
    whole = nearest_rows(queries, bank, 20, 128)
    for size in (1, 71):
        parts = [nearest_rows(piece, bank, 20, 128) for piece in queries.split(size)]
        for number in range(2):
            assert torch.equal(whole[number], torch.cat([part[number] for part in parts]))


def test_vote_by_hand() -> None:
    products, labels = torch.tensor([[0.9, 0.8, 0.75]]), torch.tensor([[2, 0, 0]])
    first, three, all_of_them = vote(products, labels, 4, [1, 3, 50], temperature=0.5)
    assert first.tolist() == [[0, 0, 1, 0]]
    weights = [math.exp(1.8), math.exp(1.6), math.exp(1.5)]
    expected = [(weights[1] + weights[2]) / sum(weights), 0, weights[0] / sum(weights), 0]
    assert three[0].tolist() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(three, all_of_them)


@pytest.mark.parametrize(("temperature", "expected"), [(0.07, 1), (1.0, 0)])
def test_low_temperature_lets_the_nearest_decide(temperature: float, expected: int) -> None:
    head = KNNHead(num_classes=2, in_channels=2, k=3, temperature=temperature)
    head.set_bank(torch.tensor([[1.0, 0.1], [1.0, 0.6], [1.0, 0.6]]), torch.tensor([1, 0, 0]))
    assert head.predict((torch.tensor([[1.0, 0.0]]),))[0].pred_label.item() == expected


@pytest.fixture
def head() -> KNNHead:
    """A head whose classes are the four directions of a plane."""
    head = KNNHead(num_classes=4, in_channels=2, k=[3, 1])
    head.set_bank(torch.tensor([[5.0, 0.0], [0.0, 0.1], [-9.0, 0.0], [0.0, -1.0]]), torch.arange(4))
    return head


def test_head_predicts_for_each_k(head: KNNHead) -> None:
    samples = [DataSample().set_gt_label(number) for number in (1, 2)]
    found = head.predict((torch.tensor([[0.1, 3.0], [-2.0, 0.3]]),), samples)
    assert [sample.pred_label.item() for sample in found] == [1, 2]
    assert [sample.k1.pred_score.tolist() for sample in found] == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert (found[0].k3.pred_score > 0).tolist() == [True, True, True, False]
    assert found[0].k3.pred_score.sum().item() == pytest.approx(1)
    assert [sample.k3.gt_label.item() for sample in found] == [1, 2]
    assert head.predict((torch.tensor([[0.0, -3.0]]),))[0].pred_label.item() == 3


def test_bank_is_no_part_of_checkpoints(head: KNNHead) -> None:
    assert not head.state_dict()
    assert not list(head.parameters())


def test_head_computes_in_float32_under_autocast(head: KNNHead) -> None:
    features = (torch.tensor([[0.7, 0.71], [0.71, 0.7]]),)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = head(features)
    assert all(torch.equal(one, two) for one, two in zip(inside, head(features), strict=True))


@pytest.mark.parametrize("k", [0, [], [5, -1]])
def test_number_of_neighbours_must_be_positive(k: object) -> None:
    with pytest.raises(ValueError, match="k must be one number of neighbours or several, each at least 1, got"):
        KNNHead(num_classes=2, in_channels=4, k=k)


def test_other_errors_of_the_head(head: KNNHead) -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, got 0"):
        KNNHead(num_classes=2, in_channels=4, temperature=0)
    with pytest.raises(ValueError, match=r"the bank of nearest neighbours is empty; test with default_hooks\.bank="):
        KNNHead(num_classes=2, in_channels=4)((torch.zeros(1, 4),))
    with pytest.raises(ValueError, match="the bank of nearest neighbours is empty; give it a data set"):
        head.set_bank(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="the bank has labels from 0 to 4, the head has 4 classes"):
        head.set_bank(torch.zeros(2, 2), torch.tensor([0, 4]))
    with pytest.raises(
        ValueError, match=r"the encoder returns \(1, 17, 2\), and a bank .* set the backbone's out_type"
    ):
        head((torch.zeros(1, 17, 2),))


@pytest.mark.parametrize("name", LEAVES)
def test_leaf_has_nothing_to_train(repository: Path, name: str) -> None:
    cfg = Config.fromfile(repository / "configs" / "representations" / f"{name}.py")
    assert cfg.get("train_cfg") is None and cfg.get("optim_wrapper") is None and cfg.train_dataloader is None


def expected_accuracies(cfg: Config, checkpoint: Path, ks: tuple[int, ...] = (10, 20)) -> dict[str, float]:
    """Top-1 by a model, its whole table of cosines, and a vote with one-hot maps."""
    model = build_model(cfg)
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    for one in ("weight", "bias"):
        weights.setdefault(f"backbone.ln2.{one}", weights.get(f"backbone.ln1.{one}"))
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    model.eval()
    features, labels = [], []
    for dataset in (cfg.default_hooks.bank.dataset, cfg.test_dataloader.dataset):
        dataset = Runner.build_dataloader({**cfg.test_dataloader, "dataset": dataset}).dataset
        batch = dataset.__getitems__(range(len(dataset)))
        with torch.no_grad():
            feature = model.extract_feat(model.data_preprocessor(batch)["inputs"])[-1]
        features.append(F.normalize(feature, dim=1))
        labels.append(batch["gt_label"])
    cosines, order = (features[1] @ features[0].T).sort(dim=1, descending=True)
    votes = (cosines / 0.07).exp()[..., None] * F.one_hot(labels[0][order], model.head.num_classes)
    found = {k: votes[:, :k].sum(dim=1).argmax(dim=1) == labels[1] for k in ks}
    return {f"k{k}_accuracy/top1": 100 * hits.float().mean().item() for k, hits in found.items()}


@pytest.mark.parametrize("name", [KNN, KNN_SEIT])
def test_whole_test_equals_a_direct_computation(
    load: Callable, tmp_path: Path, build_runner: Callable[[Config], Runner], name: str
) -> None:
    """Of pre-training (MTM) and of a classifier (SeiT)."""
    source = "mtm_vit-base-p16_8xb512-400e_in1k-tokens" if name == KNN else "seit_vit-base-p16_8xb128-300e_in1k-tokens"
    path = save_model(load(source), tmp_path / "source.pth")
    cfg = load(name)
    for part in (cfg.default_hooks.bank, cfg.test_dataloader):
        part.batch_size = 3
    cfg.load_from = str(path)
    cfg.model.head.k = [1, 3]
    cfg.test_evaluator.task_metrics = {f"k{k}": cfg.test_evaluator.task_metrics.k10 for k in (1, 3)}
    found = build_runner(cfg).test()
    assert set(found) == {f"k{k}_accuracy/top{n}" for k in (1, 3) for n in (1, 5)}
    for key, value in expected_accuracies(cfg, path, (1, 3)).items():
        assert found[key] == pytest.approx(value)


@pytest.mark.parametrize("name", [KNN, KNN_SEIT])
def test_features_are_those_of_the_feature_extractor(
    load: Callable, tmp_path: Path, build_runner: Callable, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whether it has the neighbours' config or that of the checkpoint."""
    source = load(
        "mtm_vit-base-p16_8xb512-400e_in1k-tokens" if name == KNN else "seit_vit-base-p16_8xb128-300e_in1k-tokens"
    )
    path = save_model(source, tmp_path / "source.pth")
    banks, set_bank = [], KNNHead.set_bank
    monkeypatch.setattr(KNNHead, "set_bank", lambda self, *bank: banks.append(bank[0]) or set_bank(self, *bank))
    cfg = load(name)
    cfg.load_from = str(path)
    build_runner(cfg).test()
    dataset = cfg.default_hooks.bank.dataset
    for config in (cfg, source):
        features = FeatureExtractor(config, path, "cpu")(Path(dataset.data_root, dataset.store))
        torch.testing.assert_close(features, banks[0], rtol=1e-6, atol=1e-6)


def test_what_is_left_out_of_a_checkpoint_is_said(mtm: Path, load: Callable, tool: Callable, tmp_path: Path) -> None:
    dump_config(load(), tmp_path / "knn.py")
    assert tool("test.py", tmp_path / "knn.py", mtm, "--work-dir", tmp_path / "out", "--out", tmp_path / "a.json") == 0
    assert set(json.loads((tmp_path / "a.json").read_text())) == {
        f"k{k}_accuracy/top{n}" for k in (10, 20) for n in (1, 5)
    }
    (log,) = (tmp_path / "out").glob("*/*.log")
    assert f"Left out of {mtm}, as neighbours need no more: head, neck." in log.read_text()
    assert "The bank has 7 samples, and all of them vote for k = [10, 20]." in log.read_text()


def test_encoder_of_another_size_is_refused(mtm: Path, load: Callable, build_runner: Callable) -> None:
    cfg = load()
    cfg.model.backbone.arch.num_layers = 3
    cfg.load_from = str(mtm)
    with pytest.raises(ValueError, match=r"does not fit the model: missing keys: backbone\.layers\.2"):
        build_runner(cfg).test()


def test_checkpoint_without_an_encoder_is_refused(load: Callable, build_runner: Callable, tmp_path: Path) -> None:
    torch.save({"state_dict": {"encoder.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    cfg = load()
    cfg.load_from = str(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="has no key in common with the model"):
        build_runner(cfg).test()


def test_bank_of_another_tokenizer_is_refused(
    mtm: Path, load: Callable, build_runner: Callable, tmp_path: Path
) -> None:
    cfg = load()
    cfg.load_from = str(mtm)
    path = make_store(tmp_path / "other", codebook=make_codebook(391, 32, seed=1))
    cfg.default_hooks.bank.dataset.update(data_root="", store=str(path))
    with pytest.raises(ValueError, match=r"other and the data preprocessor .* belong to different tokenizers"):
        build_runner(cfg).test()


def test_bank_of_other_classes_is_refused(load: Callable, build_runner: Callable, tmp_path: Path) -> None:
    cfg = load(KNN_DIGITS)
    cfg.default_hooks.bank.dataset.metainfo = dict(classes=[f"digit-{number}" for number in range(10)])
    with pytest.raises(ValueError, match="the test data have not the classes of the bank of neighbours"):
        build_runner(cfg).test()


def test_classifier_with_another_head_is_refused(load: Callable, build_runner: Callable) -> None:
    cfg = load()
    cfg.model.head = dict(type="LinearClsHead", num_classes=1000, in_channels=16)
    with pytest.raises(ValueError, match="the model is a ImageClassifier with a LinearClsHead; give"):
        build_runner(cfg).test()


def test_raw_weights_beside_an_average_are_left_out(
    mtm: Path, load: Callable, build_runner: Callable, tmp_path: Path
) -> None:
    """A classifier's raw weights have a head, too, which no neighbour needs."""
    content = torch.load(mtm, weights_only=True)
    raw = {f"module.{name}": value for name, value in content["state_dict"].items()}
    extra = {"module.head.fc.weight": torch.zeros(2, 16), "steps": torch.tensor(3)}
    torch.save({**content, "ema_state_dict": {**raw, **extra}}, tmp_path / "ema.pth")
    scores = []
    for path in (mtm, tmp_path / "ema.pth"):
        cfg = load()
        cfg.load_from = str(path)
        scores.append(build_runner(cfg).test())
    assert scores[0] == scores[1]


def test_test_in_bfloat16_encodes_the_bank_alike(
    mtm: Path, load: Callable, tool: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    banks, set_bank = [], KNNHead.set_bank
    monkeypatch.setattr(KNNHead, "set_bank", lambda self, *bank: banks.append(bank[0]) or set_bank(self, *bank))
    dump_config(load(), tmp_path / "knn.py")
    for options in ([], ["--amp"]):
        tool("test.py", tmp_path / "knn.py", mtm, "--work-dir", tmp_path / "out", *options)
    exact, rounded = banks
    assert 0 < (exact - rounded).abs().max() < 0.2


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_processes_share_the_bank_bit_for_bit(
    mtm: Path, load: Callable, build_runner: Callable, monkeypatch: pytest.MonkeyPatch, world_size: int
) -> None:
    """4 batches of 7 samples, one process after the other in place of all at once."""
    cfg = load()
    cfg.load_from = str(mtm)
    runner = build_runner(cfg)
    runner.test()
    hook = next(hook for hook in runner.hooks if isinstance(hook, KNNBankHook))
    dataset = DATASETS.build(hook.dataset)
    with torch.no_grad():
        whole = hook._encode(runner.model, dataset)
        parts, rest = [], []
        monkeypatch.setattr(knn_bank, "get_world_size", lambda: world_size)
        monkeypatch.setattr(knn_bank, "all_gather", lambda part: rest.append(part) or [part])
        for rank in range(world_size):
            monkeypatch.setattr(knn_bank, "get_rank", lambda rank=rank: rank)
            hook._encode(runner.model, dataset)
            parts.append(rest[-2:])
    assert len({len(features) for features, _ in parts}) == 1  # what gathering asks for
    for number, expected in enumerate(whole):
        assert torch.equal(torch.cat([part[number] for part in parts])[: len(dataset)], expected)


def leaving_one_out(cfg: Config, checkpoint: Path, k: int) -> float:
    """Top-1 of a store on itself, by a whole table of cosines without its diagonal."""
    model = build_model(cfg)
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    for one in ("weight", "bias"):
        weights.setdefault(f"backbone.ln2.{one}", weights.get(f"backbone.ln1.{one}"))
    model.load_state_dict({name: weights[name] for name in model.state_dict()})
    batch = DATASETS.build(cfg.test_dataloader.dataset).__getitems__(range(8))
    with torch.no_grad():
        features = F.normalize(model.eval().extract_feat(model.data_preprocessor(batch)["inputs"])[-1], dim=1)
    cosines, order = (features @ features.T).fill_diagonal_(-9).sort(dim=1, descending=True)
    votes = (cosines / 0.07).exp()[..., None] * F.one_hot(batch["gt_label"][order], model.head.num_classes)
    return 100 * (votes[:, :k].sum(dim=1).argmax(dim=1) == batch["gt_label"]).float().mean().item()


@pytest.mark.parametrize("bank", ["itself", "a copy", "repeated"])
def test_no_sample_votes_for_itself(
    mtm: Path, load: Callable, build_runner: Callable[[Config], Runner], tmp_path: Path, bank: str
) -> None:
    cfg = load()
    store = make_store(tmp_path / "one", num_samples=8, num_classes=2, seed=2)
    cfg.test_dataloader.dataset.update(data_root="", store=str(store), label_file=None, codebook_size=None)
    dataset = dict(cfg.test_dataloader.dataset)
    if bank == "a copy":
        dataset["store"] = str(shutil.copytree(store, tmp_path / "copy"))
    if bank == "repeated":
        dataset = dict(type="seitpp.RepeatDataset", times=3, dataset=dataset)
    cfg.default_hooks.bank.dataset = dataset
    cfg.load_from = str(mtm)
    cfg.model.head.update(k=[1], num_classes=2)
    cfg.test_evaluator.task_metrics = {"k1": [dict(type="mmpretrain.Accuracy", topk=(1,))]}
    runner = build_runner(cfg)
    assert runner.test()["k1_accuracy/top1"] == pytest.approx(leaving_one_out(cfg, mtm, 1))
    (log,) = Path(cfg.work_dir).glob("*/*.log")
    assert f"8 samples that are scored ({store}) are in the bank of neighbours, too" in log.read_text()


def test_part_of_the_bank_that_is_scored_does_not_vote_for_itself(head: KNNHead) -> None:
    queries = (torch.tensor([[1.0, 0.0], [0.0, 1.0]]),)
    samples = [DataSample(metainfo={"sample_idx": number}) for number in (0, 1)]
    head.set_bank(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), torch.tensor([0, 0, 1, 2]))
    assert [share.argmax(dim=1).tolist() for share in head(queries)] == [[0, 2], [0, 2]]
    head.leave_out_own(torch.tensor([7, 7, 8, 9]), torch.tensor([7, 3]))
    assert [share.argmax(dim=1).tolist() for share in head(queries, samples)] == [[1, 2], [1, 2]]
    with pytest.raises(ValueError, match="no data_samples tell which"):
        head(queries)
    head.set_bank(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))  # another bank, of which all may vote
    assert head(queries, samples)[0][:, 0].tolist() == [1, 1]
    with pytest.raises(ValueError, match="holds only one sample, which is scored"):
        head.leave_out_own(torch.tensor([7]), torch.tensor([7]))


@pytest.mark.slow
def test_two_processes_score_as_one(mtm: Path, load: Callable, spawn: Callable, tool: Callable, tmp_path: Path) -> None:
    """With 4 batches of the bank and 9 samples to score, which 2 does not divide."""
    cfg = load()
    make_store(tmp_path / "nine", num_samples=9, num_classes=1000, seed=2)
    cfg.test_dataloader.dataset.update(data_root="", store=str(tmp_path / "nine"))
    dump_config(cfg, tmp_path / "knn.py")
    tool("test.py", tmp_path / "knn.py", mtm, "--work-dir", tmp_path / "one", "--out", tmp_path / "one.json")
    line = ["bash", "tools/dist_test.sh", tmp_path / "knn.py", mtm, 2, "--work-dir", tmp_path / "two"]
    process = spawn(*line, "--out", tmp_path / "two.json")
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output[-5000:]
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()


@pytest.mark.gpu
def test_neighbours_on_a_gpu_are_those_on_a_cpu() -> None:
    queries, bank = unit(300, 64), unit(70_000, 64, seed=1)
    expected, places = nearest_rows(queries, bank, 20)
    found, found_places = nearest_rows(queries.cuda(), bank.cuda(), 20)
    assert torch.allclose(found.cpu(), expected, atol=1e-6)
    assert (found_places.cpu() == places).float().mean() > 0.999
    labels = torch.arange(70_000) % 10
    votes = [vote(found, labels.cuda()[found_places], 10, [10, 20], 0.07) for _ in range(2)]
    assert all(torch.equal(one, two) for one, two in zip(*votes, strict=True))
