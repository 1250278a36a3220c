"""Every command line that reads a checkpoint, a codebook or a table is given every payload, and says no in one line."""

import runpy
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from mmengine.config import Config

from helpers.classifier import TrainedClassifier
from helpers.config_files import dump_config
from helpers.shrinking import shrink
from seitpp.benchmarking.synthetic import make_release
from seitpp.converters import LAYOUTS, PRESETS

pytestmark = pytest.mark.slow

NETWORK = dict(encoder=dict(dims=16, depth=1, num_heads=2, head_dims=8, mlp_dims=16))
TOKEN_ADAPT = dict(codebook_size=16, code_dim=12, grid=5, out_grid=4, dims=8, num_heads=1, head_dims=4, mlp_dims=8)
TRAINING = dict(
    train_cfg=dict(by_epoch=True, max_epochs=1),
    optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1)),
    load_from=None,
)


def _training(trained: TrainedClassifier, folder: Path, edit: Callable[[Config], object] = lambda _cfg: None) -> Path:
    cfg = Config.fromfile(trained.config)
    dataset = dict(type="seitpp.TokenDataset", store=str(trained.store))
    loader = dict(batch_size=3, sampler=dict(type="DefaultSampler", shuffle=True), dataset=dataset)
    loader["collate_fn"] = dict(type="seitpp.identity_collate")
    cfg.merge_from_dict({**TRAINING, "train_dataloader": loader})
    cfg.pop("test_dataloader")
    cfg.experiment_name = uuid.uuid4().hex  # mmengine shares state between runs of one name
    edit(cfg)
    path = folder / "training.py"
    dump_config(cfg, path)
    return path


def _tested(trained: TrainedClassifier, folder: Path) -> Path:
    cfg = Config.fromfile(trained.config)
    cfg.test_dataloader.update(batch_size=3, sampler=dict(type="DefaultSampler", shuffle=False))
    cfg.update(test_cfg=dict(), test_evaluator=dict(type="mmpretrain.Accuracy"), experiment_name=uuid.uuid4().hex)
    dump_config(cfg, folder / "tested.py")
    return folder / "tested.py"


def _tokenizer(folder: Path, options: dict[str, Any]) -> Path:
    path = folder / "tokenizer.py"
    path.write_text(f"tokenizer = {options!r}\n")
    return path


def _pairs(folder: Path, repository: Path, path: Path) -> Path:
    config = folder / "pairs.py"
    cfg = Config.fromfile(repository / "configs" / "tokenadapt" / "tokenadapt_d64_1xb64-40e_digits-8px.py")
    cfg = shrink(cfg, folder / "pairs-data", num_samples=4)
    cfg.model.tokenizer.codebook = str(path)
    dump_config(cfg, config)
    return config


def _resumed(folder: Path, path: Path) -> Path:
    """A work folder whose last checkpoint is the file."""
    (folder / "work").mkdir(exist_ok=True)
    (folder / "work" / "last_checkpoint").write_text(str(path))
    return folder / "work"


def _train(trained: TrainedClassifier, out: Path, edit: Callable[[Config], object]) -> list:
    return ["train.py", _training(trained, out, edit), "--work-dir", out / "work"]


def _adapt(path: Path) -> dict[str, Any]:
    crop = dict(type="seitpp.BatchCenterCrop", size=8)
    return dict(type="seitpp.TokenAdaptAugment", token_adapt=TOKEN_ADAPT, checkpoint=str(path), augments=[crop])


def lines(
    path: Path, out: Path, trained: TrainedClassifier, network: TrainedClassifier, repository: Path
) -> dict[str, Callable[[], list]]:
    """The lines of tools that read `path`, by what they read it as; written as functions, as some need more files."""
    stack = dict(encoder=NETWORK["encoder"], decoder=NETWORK["encoder"])
    vit = dict(type="seitpp.ViTVQGAN", arch=stack, image_size=20, patch_size=4, codebook_size=16, code_dim=8)
    kmeans = dict(type="seitpp.PatchKMeans", image_size=10, patch_size=2)
    pretrained = dict(type="Pretrained", checkpoint=str(path))
    release = out / "toy-train-token.data.bin.gz"

    def released() -> list:
        if not release.exists():
            make_release(out / "toy-train", num_samples=2, codebook_size=16, code_dim=3)
        return ["convert_store.py", release, out / "imported", "--codebook", path]

    return {
        "train, load_from": lambda: _train(trained, out, lambda cfg: cfg.update(load_from=str(path))),
        "train, --resume": lambda: [*_train(trained, out, lambda _cfg: None), "--resume", path],
        "train, --resume of a folder": lambda: [
            *("train.py", _training(trained, out), "--work-dir", _resumed(out, path), "--resume")
        ],
        "train, init_cfg": lambda: _train(trained, out, lambda cfg: cfg.model.backbone.update(init_cfg=pretrained)),
        "train, TokenAdapt": lambda: _train(
            trained, out, lambda cfg: cfg.data_preprocessor.update(augments=[_adapt(path)])
        ),
        "train, codebook": lambda: _train(trained, out, lambda cfg: cfg.data_preprocessor.update(codebook=str(path))),
        "test": lambda: ["test.py", _tested(trained, out), path, "--work-dir", out / "work"],
        "confusion_matrix": lambda: ["analysis_tools/confusion_matrix.py", _tested(trained, out), path],
        "publish_model": lambda: ["model_converters/publish_model.py", path, out / "published.pth"],
        "image_demo": lambda: ["image_demo.py", trained.store, trained.config, "--checkpoint", path],
        "export_model": lambda: ["export_model.py", trained.config, path, out / "exported", "--input", "tokens"],
        "show_augmentations, tokenizer": lambda: [
            *("visualization/show_augmentations.py", network.store, "--checkpoint", path, "--out", out / "shown")
        ],
        "show_augmentations, TokenAdapt": lambda: [
            *("visualization/show_augmentations.py", trained.store, "--out", out / "shown", "--token-adapt", path),
            *("--config", _written(out / "adapt.py", f"model = dict(token_adapt={TOKEN_ADAPT!r})\n")),
        ],
        "show_corruptions": lambda: [
            *("visualization/show_corruptions.py", trained.images, "--out", out / "shown.png"),
            *("--tokenizer", _tokenizer(out, {**vit, "checkpoint": str(path)})),
        ],
        "tokenize_images, weights": lambda: [
            *("tokenize_images.py", _tokenizer(out, {**vit, "checkpoint": str(path)})),
            *(trained.images, out / "store", "--workers", 0),
        ],
        "tokenize_images, codebook": lambda: [
            *("tokenize_images.py", _tokenizer(out, {**kmeans, "codebook": str(path)})),
            *(trained.images, out / "store", "--workers", 0),
        ],
        "tokenize_images, subset": lambda: [
            *("tokenize_images.py", _tokenizer(out, {**vit, "code_subset": str(path)})),
            *(trained.images, out / "store", "--workers", 0),
        ],
        "make_token_pairs": lambda: [
            "make_token_pairs.py",
            _pairs(out, repository, path),
            out / "pairs",
            "--group-size",
            2,
        ],
        "build_synonyms": lambda: ["build_synonyms.py", path, out / "synonyms.json"],
        "convert_store": released,
        "remap_codes, subset": lambda: ["remap_codes.py", "match", path, trained.store, out / "table.npy"],
        "remap_codes, full": lambda: ["remap_codes.py", "match", trained.store, path, out / "table.npy"],
        "remap_codes, table": lambda: ["remap_codes.py", "subset", trained.store, out / "subset", "--table", path],
        "inspect_store": lambda: ["inspect_store.py", "verify", path],
        "convert_store, source": lambda: ["convert_store.py", path, out / "copied"],
        **{
            f"convert_checkpoint, {layout}": lambda layout=layout: [
                "convert_checkpoint.py",
                layout,
                path,
                out / "c.pth",
            ]
            for layout in (*LAYOUTS, *PRESETS, "codebook")
        },
        **{
            f"convert_checkpoint, {layout} --to-release": lambda layout=layout: [
                *("convert_checkpoint.py", layout, path, out / "r.pth", "--to-release")
            ]
            for layout in (*LAYOUTS, "vitvqgan_small")
        },
        "convert_checkpoint, --codebook": lambda: [
            *("convert_checkpoint.py", "vitvqgan_small", trained.checkpoint, out / "c.pth", "--codebook", path)
        ],
    }


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


_NOWHERE = TrainedClassifier(*[Path("x")] * 4, None)
LINES = sorted(lines(Path("x"), Path("x"), _NOWHERE, _NOWHERE, Path("x")))


@pytest.fixture
def line(
    trained: TrainedClassifier, network: TrainedClassifier, repository: Path, tmp_path: Path
) -> Callable[[str, Path], list]:
    """The arguments of a line for a file."""

    def of(name: str, path: Path) -> list:
        return [str(part) for part in lines(path, tmp_path, trained, network, repository)[name]()]

    return of


def files(payloads: ModuleType, hostile: Callable, weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, Path]]:
    """Hostile files, one after the other under the same few names."""
    content = {"meta": {"hidden": payloads.PLACE, "epoch": 1, "iter": 1}, "state_dict": weights}
    for pickle in payloads.PICKLES:
        yield pickle, hostile(pickle, content=content)
    for container in payloads.CONTAINERS:
        for suffix in (".pth", ".npy", ".safetensors"):
            yield f"{container}{suffix}", hostile("exec", container, suffix=suffix)
    yield "release", hostile("exec", content={"model": weights, "args": payloads.PLACE})


@pytest.mark.parametrize("name", LINES)
def test_no_tool_runs_a_payload(
    name: str,
    line: Callable,
    payloads: ModuleType,
    hostile: Callable,
    weights: dict,
    marker: Path,
    repository: Path,
    unformatted_configs: None,
    capsys: pytest.CaptureFixture,
) -> None:
    mains: dict[str, Callable] = {}
    for payload, path in files(payloads, hostile, weights):
        tool, *arguments = line(name, path)
        main = mains.setdefault(tool, runpy.run_path(str(repository / "tools" / tool))["main"])
        status, message = 0, ""
        try:
            status = main(arguments)
        except SystemExit as end:
            status, message = end.code, str(end.code)
        except (ValueError, OSError) as error:
            status, message = 1, str(error)
        captured = capsys.readouterr()
        assert not marker.exists(), payload
        if status or "hostile" in captured.err:
            assert "hostile" in message + captured.err + captured.out, (payload, message)
        else:
            assert name.startswith("convert_checkpoint"), (payload, "was read")  # which takes the tensors alone


ONE_EACH = [name for name in LINES if "convert_checkpoint" not in name]
ONE_EACH += ["convert_checkpoint, mtm", "convert_checkpoint, mtm --to-release", "convert_checkpoint, vitvqgan_small"]


@pytest.mark.parametrize("name", ONE_EACH)
def test_a_process_says_so_in_one_line(
    name: str, line: Callable, payloads: ModuleType, hostile: Callable, marker: Path, spawn: Callable
) -> None:
    path = hostile("attributes-of-allowed-names")
    tool, *arguments = line(name, path)
    process = spawn(sys.executable, f"tools/{tool}", *arguments)
    printed, _ = process.communicate(timeout=120)
    assert not marker.exists()
    assert process.returncode not in (0, None), printed
    assert "Traceback" not in printed and "hostile.pth" in printed.splitlines()[-1], printed[-2000:]
