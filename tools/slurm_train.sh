#!/usr/bin/env bash
# Train as a Slurm job with one process per GPU; more options for srun go into SRUN_ARGS, separated by blanks.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

need 3 "PARTITION JOB_NAME CONFIG [WORK_DIR] [args of train.py...]" $# \
    "GPUS=8 GPUS_PER_NODE=8 (at most GPUS) CPUS_PER_TASK=5 SRUN_ARGS="
if [[ $# -gt 3 && "$4" != -* ]]; then
    launch_slurm "$1" "$2" train.py "$3" --launcher slurm --work-dir "${@:4}"
fi
launch_slurm "$1" "$2" train.py "$3" --launcher slurm "${@:4}"
