"""What several test files share: a clean process around each test, and the tools as functions and as processes."""

import gc
import os
import resource
import runpy
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

# The default suite is the CPU's, also where there is a GPU; mmengine settles on a device when it is imported.
if "gpu" not in " ".join(sys.argv):
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from helpers.config_files import dump_config
from helpers.process import clean_process  # noqa: F401 (a fixture of every test)
from helpers.shrinking import shrink
from seitpp.engine import launch
from seitpp.io.checkpoint import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from going through the libraries again and again, a fifth of the time of a run."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def left_objects() -> Iterator[None]:
    """Nor through what earlier files left: data sets and process groups have it go through all that there is."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def unsynced_files() -> Iterator[None]:
    """Files reach the disk when the system likes: tests kill processes, and none cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def mtm_leaf() -> Path:
    """The MTM recipe."""
    return ROOT / "configs" / "mtm" / "mtm_vit-base-p16_8xb512-400e_in1k-tokens.py"


@pytest.fixture(scope="session")
def finetune_leaf() -> Path:
    """The fine-tuning recipe."""
    return ROOT / "configs" / "seitpp" / "seitpp_vit-base-p16_mtm-400e-pre_8xb128-100e_in1k-tokens.py"


@pytest.fixture
def little_disk() -> Iterator[None]:
    """No file can grow beyond 100,000 bytes, which fails as a full disk does: in the middle of writing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def leave_out_formatting(patch: pytest.MonkeyPatch) -> None:
    """Leave out mmengine's formatting of a config's text at each save, most of the time of a tiny run."""
    patch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_options: (text, True))


@pytest.fixture
def unformatted_configs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out mmengine's formatting of a config's text."""
    leave_out_formatting(monkeypatch)


@pytest.fixture
def build_runner(unformatted_configs: None) -> Callable[[Config], Runner]:
    """Builds a runner; its name is unique, since mmengine shares state between runners of one name."""

    def build(cfg: Config) -> Runner:
        cfg.experiment_name = uuid.uuid4().hex
        return launch.build_runner(cfg)

    return build


def run_tool_of(name: str, *args: object) -> int:
    """Run `tools/NAME` in this process with the given arguments, under a name of its own."""
    name_option = f"experiment_name={uuid.uuid4().hex}"
    arguments = [str(arg) for arg in args]
    if "--cfg-options" in arguments:
        arguments.insert(arguments.index("--cfg-options") + 1, name_option)
    else:
        arguments += ["--cfg-options", name_option]
    return runpy.run_path(str(ROOT / "tools" / name))["main"](arguments)


@pytest.fixture
def tool(unformatted_configs: None) -> Callable[..., int]:
    """Runs `tools/NAME` in this process with the given arguments."""
    return run_tool_of


@pytest.fixture(scope="session")
def fork() -> Callable[..., list[BaseProcess]]:
    """Starts `tools/NAME` in forks of this process, which have the libraries loaded; in all `num_ranks` of a group."""

    def start(name: str, *args: object, num_ranks: int = 1) -> list[BaseProcess]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
        group["WORLD_SIZE"] = str(num_ranks)
        children = [
            get_context("fork").Process(target=_run_forked, args=(name, args, {**group, "RANK": str(rank)}))
            for rank in range(num_ranks)
        ]
        for child in children:
            child.start()
        return children

    return start


def _run_forked(name: str, args: Sequence[object], environment: dict[str, str]) -> None:
    gc.freeze()  # what the tests hold is not gone through at the end of a process group
    leave_out_formatting(pytest.MonkeyPatch())
    if environment["WORLD_SIZE"] != "1":
        os.environ.update(environment, LOCAL_RANK=environment["RANK"])
        args = [*args, "--launcher", "pytorch"]
    run_tool_of(name, *args)


@pytest.fixture(scope="session")
def spawn() -> Callable[..., subprocess.Popen]:
    """Starts a process in the repository, with this interpreter first on the PATH and one thread."""

    def start(*line: object, **environment: str) -> subprocess.Popen:
        env = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            **environment,
        }
        line = [str(part) for part in line]
        return subprocess.Popen(line, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


@pytest.fixture(scope="session")
def tiny_in() -> Callable[..., Path]:
    """Writes a shrunken leaf to a config file in a folder; `edit` changes it before, `late` after shrinking."""

    def write(
        folder: Path,
        leaf: Path,
        name: str = "tiny",
        edit: Callable[[Config], object] | None = None,
        late: Callable[[Config], object] | None = None,
        **options: object,
    ) -> Path:
        cfg = Config.fromfile(leaf)
        if edit is not None:
            edit(cfg)
        cfg = shrink(cfg, folder, **options)
        if late is not None:
            late(cfg)
        dump_config(cfg, folder / f"{name}.py")
        return folder / f"{name}.py"

    return write


@pytest.fixture
def tiny(tiny_in: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """`tiny_in` in the test's own folder."""
    return partial(tiny_in, tmp_path)


@pytest.fixture
def assert_same_training() -> Callable[[Path, Path], None]:
    """Compares two checkpoints bit for bit: weights, optimizer, schedule, progress."""

    def compare(first: Path, second: Path) -> None:
        one, two = load_checkpoint_file(first), load_checkpoint_file(second)
        assert {key: one["meta"][key] for key in ("epoch", "iter", "seed")} == {
            key: two["meta"][key] for key in ("epoch", "iter", "seed")
        }
        for key in ("state_dict", "optimizer", "param_schedulers"):
            assert_equal(one[key], two[key], key)

    return compare


def assert_equal(one: object, two: object, where: str) -> None:
    """Equality of trees of dicts, lists and tensors, bit for bit."""
    assert type(one) is type(two), where
    if isinstance(one, dict):
        assert one.keys() == two.keys(), where
        for key in one:
            assert_equal(one[key], two[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two), where
        for number, (first, second) in enumerate(zip(one, two, strict=True)):
            assert_equal(first, second, f"{where}[{number}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), where
    else:
        assert one == two, where
