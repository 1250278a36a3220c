"""What a launcher's environment says of the processes it started, and their group on machines without a GPU."""

import os
import subprocess

import torch
from mmengine.config import Config, ConfigDict

from seitpp.io.text import shown

# Variables of rank, world size and, where the launcher is not torch's, local rank; and what sets them.
LAUNCHERS = {
    "pytorch": (("RANK", "WORLD_SIZE"), "tools/dist_train.sh or torchrun"),
    "slurm": (("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"), "tools/slurm_train.sh or srun"),
    "mpi": (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"), "mpirun"),
}


def check_launcher(launcher: str) -> None:
    """Refuse a launcher that did not start this process: a variable that it sets is missing, or is no number."""
    names, starter = LAUNCHERS.get(launcher, ((), ""))
    for name in names:
        if not os.environ.get(name, "").isdigit():
            found = shown(os.environ[name]) if name in os.environ else "not set"
            raise ValueError(f"--launcher {launcher}: {name} is {found} in the environment; start it with {starter}")


def rank_of(launcher: str) -> int:
    """Return the number of this process among all that the launcher started."""
    return int(os.environ.get(LAUNCHERS[launcher][0][0], 0)) if launcher in LAUNCHERS else 0


def world_size_of(launcher: str) -> int:
    """Return the number of processes that the launcher started."""
    return int(os.environ.get(LAUNCHERS[launcher][0][1], 1)) if launcher in LAUNCHERS else 1


def start_processes(config: Config) -> None:
    """Start the process group on machines without a GPU, where mmengine's own start asks for one."""
    launcher = config.get("launcher", "none")
    if launcher == "none" or torch.cuda.is_available():
        return
    if launcher != "pytorch":
        _set_torch_variables(launcher)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    config.sync_bn = None  # which runs on GPUs alone
    options = {"broadcast_buffers": False, "find_unused_parameters": config.get("find_unused_parameters", False)}
    given = config.get("model_wrapper_cfg") or {}
    own = {"type": "mmengine.MMDistributedDataParallel", "device_ids": None}
    config.model_wrapper_cfg = ConfigDict({**options, **given, **own})


def _set_torch_variables(launcher: str) -> None:
    """Set what torch's `env://` start reads; with Open MPI over several hosts MASTER_ADDR must be set already."""
    for name, source in zip(("RANK", "WORLD_SIZE", "LOCAL_RANK"), LAUNCHERS[launcher][0], strict=True):
        os.environ[name] = os.environ[source]
    if launcher == "slurm" and "MASTER_ADDR" not in os.environ:
        line = ["scontrol", "show", "hostname", os.environ["SLURM_NODELIST"]]
        hosts = subprocess.run(line, capture_output=True, text=True, check=True)
        os.environ["MASTER_ADDR"] = hosts.stdout.split()[0]
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
