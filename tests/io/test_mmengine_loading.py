"""mmengine's loader reads data alone once any part of the package is imported, whatever the environment says."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from safetensors.torch import save_file
from torch import Tensor, nn

import seitpp.io.checkpoint  # noqa: F401 (makes mmengine read so)
from seitpp.io.torch_file import load_torch_file


class Attack:
    """Pickles as the call of any function."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple:
        return self.call


def reaching_eval(code: str) -> Attack:
    """Nothing but functions of mmengine's list and torch's, on the way to `eval`."""
    rebuild = torch._tensor._rebuild_from_type_v2
    scope = Attack(getattr, (Attack(getattr, (HistoryBuffer, "__init__")), "__globals__"))
    get = Attack(getattr, (scope, "get"))
    builtins = Attack(rebuild, (get, Attack(getattr, (scope, "__class__")), ("__builtins__",), None))
    kind = Attack(getattr, (get, "__class__"))
    evaluate = Attack(rebuild, (Attack(getattr, (builtins, "get")), kind, ("eval",), None))
    return Attack(rebuild, (evaluate, Attack(getattr, (None, "__class__")), (code,), None))


def payloads(target: Path) -> dict[str, Any]:
    """Ways to make a folder that mmengine's or torch's list of functions lets through, or that unpickling would run."""
    rebuild, wrap = torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_wrapper_subclass
    make = (os.mkdir, (str(target),))
    return {
        "call": Attack(*make),
        "eval": reaching_eval(f"__import__('os').mkdir({str(target)!r})"),
        "getattr": Attack(getattr, (HistoryBuffer, "__init__")),
        "rebuild": Attack(rebuild, (os.mkdir, torch.Tensor, (str(target),), {})),
        "wrapper": Attack(wrap, (os.mkdir, torch.float32, (1,), (1,), 0, 0, "cpu", 0)),
        "in a history": Attack(HistoryBuffer, (), {"statistics_methods": {"mean": Attack(*make)}}),
        "method of a tensor": Attack(rebuild, (torch.Tensor, torch.Tensor, (), {"cpu": Attack(*make)})),
    }


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools of other tests set it in this process."""
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)


@pytest.fixture
def hostile(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    name, in_zip = request.param
    content = {"state_dict": {"fc.weight": torch.zeros(1, 2)}, "x": payloads(tmp_path / "ran")[name]}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=in_zip)
    return tmp_path / "a.pth"


def everything() -> Any:
    parameters = [(name, in_zip) for name in payloads(Path("x")) for in_zip in (True, False)]
    return pytest.mark.parametrize("hostile", parameters, indirect=True, ids=lambda pair: f"{pair[0]}-{pair[1]}")


class Model(BaseModel):
    """One layer whose loss is its mean output."""

    def __init__(self, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        torch.manual_seed(0)
        self.fc = nn.Linear(2, 1)

    def forward(self, inputs: Tensor, mode: str = "tensor") -> Any:
        return {"loss": self.fc(inputs).mean().square()} if mode == "loss" else self.fc(inputs)


class OneBatch(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        return {"inputs": torch.full((2,), float(index))}


def runner(work_dir: Path, **options: Any) -> Runner:
    return Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=OneBatch(),
            batch_size=2,
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=options.pop("epochs", 1)),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
        param_scheduler=dict(type="LinearLR", start_factor=0.5, end=3),
        randomness=dict(seed=0),
        experiment_name=f"{work_dir.parent.name}-{work_dir.name}",
        custom_hooks=options.pop("hooks", []),
        **options,
    )


@everything()
@pytest.mark.parametrize(
    "load",
    [
        lambda path: load_checkpoint(Model(), str(path)),
        lambda path: CheckpointLoader.load_checkpoint(str(path), map_location="cpu"),
        lambda path: Model(init_cfg=dict(type="Pretrained", checkpoint=str(path))).init_weights(),
        lambda path: mmengine_checkpoint._safe_torch_load(str(path)),
        lambda path: mmengine_checkpoint.load_url("https://example.invalid/a.pth", model_dir=str(path.parent)),
        lambda path: load_torch_file(io.BytesIO(path.read_bytes())),
    ],
    ids=["load_checkpoint", "loader", "init_cfg", "safe_torch_load", "load_url", "open file"],
)
def test_payload_is_refused_by_mmengines_loaders(load: Callable, hostile: Path) -> None:
    with pytest.raises(ValueError, match="nothing in it was run"):
        load(hostile)
    assert os.listdir(hostile.parent) == ["a.pth"]


@pytest.mark.parametrize("hostile", [("call", True), ("eval", True)], indirect=True)
@pytest.mark.parametrize("resume", [True, False])
def test_payload_is_refused_by_a_run(hostile: Path, resume: bool, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing in it was run"):
        runner(tmp_path / "work", load_from=str(hostile), resume=resume).train()
    assert not (tmp_path / "ran").exists()


def same(ours: Any, theirs: Any) -> bool:
    """Whether two readings of a checkpoint are equal, types included."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, dict):
        return list(ours) == list(theirs) and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, HistoryBuffer):
        return ours.max_length == theirs.max_length and all(map(same, ours.data, theirs.data))
    if isinstance(ours, Tensor):
        return ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    if hasattr(ours, "tobytes"):
        return ours.dtype == theirs.dtype and ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes()
    return ours == theirs


@pytest.mark.parametrize("in_zip", [True, False])
def test_what_a_run_writes_is_read_as_torch_reads_it(in_zip: bool, tmp_path: Path) -> None:
    runner(tmp_path / "work").train()
    path = tmp_path / "work" / "epoch_1.pth"
    with torch.serialization.safe_globals(mmengine_checkpoint.get_torch_safe_globals()):
        theirs = torch.load(path, weights_only=True)
        torch.save(theirs, tmp_path / "again.pth", _use_new_zipfile_serialization=in_zip)
    ours = mmengine_checkpoint._load_checkpoint(str(tmp_path / "again.pth"), map_location="cpu")
    assert same(ours, theirs) and len(theirs["message_hub"]["log_scalars"]) > 3
    history = ours["message_hub"]["log_scalars"]["train/loss"]
    assert history.mean() == history.statistics("mean") and len(history.data[0]) == 2


def test_run_goes_on_from_its_checkpoint_as_if_never_stopped(tmp_path: Path) -> None:
    whole = runner(tmp_path / "whole", epochs=2)
    whole.train()
    runner(tmp_path / "first", epochs=1).train()
    rest = runner(tmp_path / "rest", epochs=2, load_from=str(tmp_path / "first" / "epoch_1.pth"), resume=True)
    rest.train()
    assert all(torch.equal(value, rest.model.state_dict()[name]) for name, value in whole.model.state_dict().items())
    scalars = rest.message_hub.get_scalar("train/loss")
    assert len(scalars.data[0]) == 4  # two of them from the checkpoint


class WithConfig(Hook):
    """Puts what mmcv's checkpoints had into a checkpoint: the config as text, which mmengine runs on resuming."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint["meta"]["config"] = f"import os\nos.mkdir({str(self.target)!r})\n"


def test_config_text_of_a_checkpoint_is_not_run_on_resuming(tmp_path: Path) -> None:
    runner(tmp_path / "first", hooks=[WithConfig(tmp_path / "ran")]).train()
    path = tmp_path / "first" / "epoch_1.pth"
    assert "config" in load_torch_file(path)["meta"]
    for resume in (True, False):
        runner(tmp_path / f"work-{resume}", epochs=2, load_from=str(path), resume=resume).train()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("owner", "name"), [(os, "mkdir"), (HistoryBuffer, "__init__"), (HistoryBuffer(), "mean")])
def test_getattr_of_the_list_gives_nothing_else(owner: Any, name: str) -> None:
    listed = dict(reversed(entry) for entry in mmengine_checkpoint.get_torch_safe_globals() if isinstance(entry, tuple))
    assert getattr not in mmengine_checkpoint.get_torch_safe_globals()
    assert listed["builtins.getattr"](HistoryBuffer, "mean") is HistoryBuffer.mean
    with pytest.raises(ValueError, match="an attribute of something else than a log history"):
        listed["builtins.getattr"](owner, name)


def test_torch_with_the_list_of_mmengine_runs_nothing_either(tmp_path: Path) -> None:
    for number, payload in enumerate(payloads(tmp_path / "ran").values()):
        torch.save(payload, tmp_path / f"{number}.pth")
        with (
            torch.serialization.safe_globals(mmengine_checkpoint.get_torch_safe_globals()),
            pytest.raises(Exception, match=r"weights_only|Weights only|log history|argument|expect|callable"),
        ):
            torch.load(tmp_path / f"{number}.pth", weights_only=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"meta": [1]}, r"meta is \[1\], expected dict"),
        ({"meta": {"epoch": "3"}}, r"meta\.epoch is '3', expected int"),
        ({"meta": {"seed": 0.5}}, r"meta\.seed is 0\.5, expected int"),
        ({"meta": {"dataset_meta": 7}}, r"meta\.dataset_meta is 7, expected dict"),
        ({"meta": {"dataset_meta": {"classes": "cat"}}}, r"classes is 'cat', expected list or tuple"),
        ({"meta": {"dataset_meta": {"classes": ["cat", 3]}}}, r"classes has the name 3, expected text"),
        ({"state_dict": [torch.ones(1)]}, r"state_dict is \[tensor.*, expected dict"),
        ({"state_dict": {3: torch.ones(1)}}, r"state_dict has the name 3, expected text"),
        ({"message_hub": {"log_scalars": []}}, r"message_hub\.log_scalars is \[\], expected dict"),
        ({"optimizer": 3}, r"optimizer is 3, expected dict"),
        ({"param_schedulers": "x"}, r"param_schedulers is 'x', expected list or dict"),
    ],
)
def test_parts_of_other_types_are_refused(content: dict, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"checkpoint .*a\.pth: .*{message}"):
        CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"), map_location="cpu")


def test_safetensors_are_read_as_well(tmp_path: Path) -> None:
    model = Model()
    save_file({f"net.{name}": value + 1 for name, value in model.state_dict().items()}, tmp_path / "a.safetensors")
    source = dict(type="Pretrained", checkpoint=str(tmp_path / "a.safetensors"), prefix="net.")
    found = Model(init_cfg=source)
    found.init_weights()
    assert torch.equal(found.fc.weight, model.fc.weight + 1)
    (tmp_path / "a.safetensors").write_bytes(b"x" * 50)
    with pytest.raises(ValueError, match=r"checkpoint .*a\.safetensors is not a readable safetensors file"):
        load_checkpoint(model, str(tmp_path / "a.safetensors"))


def test_parts_that_are_missing_or_none_pass(tmp_path: Path) -> None:
    content = {"meta": {"seed": None, "dataset_meta": None}, "state_dict": {"a": torch.ones(1)}, "optimizer": None}
    torch.save(content, tmp_path / "a.pth")
    assert CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"), map_location="cpu") == content
    torch.save(torch.ones(1), tmp_path / "b.pth")
    with pytest.raises(RuntimeError, match="No state_dict found in checkpoint file"):
        load_checkpoint(Model(), str(tmp_path / "b.pth"))


@pytest.mark.parametrize("map_location", [None, "cpu", torch.device("cpu"), lambda storage, location: storage])
def test_every_kind_of_place_is_taken(map_location: Any, tmp_path: Path) -> None:
    torch.save({"a": torch.arange(3.0)}, tmp_path / "a.pth")
    assert torch.equal(mmengine_checkpoint._safe_torch_load(tmp_path / "a.pth", map_location)["a"], torch.arange(3.0))
    with (tmp_path / "a.pth").open("rb") as file:
        assert torch.equal(mmengine_checkpoint._safe_torch_load(file, map_location)["a"], torch.arange(3.0))


def test_address_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fetch(url: str, target: str, hash_prefix: str | None, progress: bool) -> None:
        calls.append((url, hash_prefix))
        torch.save({"a": torch.arange(3.0)}, target)

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for _ in range(2):
        found = CheckpointLoader.load_checkpoint("https://example.invalid/x/net-0123abcd.pth", map_location="cpu")
        assert torch.equal(found["a"], torch.arange(3.0))
    assert calls == [("https://example.invalid/x/net-0123abcd.pth", None)]
    mmengine_checkpoint.load_url("https://example.invalid/y-0123abcd.pth", check_hash=True)
    assert calls[1] == ("https://example.invalid/y-0123abcd.pth", "0123abcd")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [
        "models",
        "tokenizers",
        "datasets",
        "augment",
        "evaluation",
        "engine",
        "apis",
        "visualization.augmentations",
        "converters",
    ],
)
def test_every_part_brings_the_safe_loader(part: str) -> None:
    code = (
        f"import seitpp.{part}\nfrom mmengine.runner import checkpoint as c, CheckpointLoader as l\n"
        "assert c._safe_torch_load.__module__ == l._schemes[''].__module__ == 'seitpp.io.checkpoint'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
