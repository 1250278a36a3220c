#!/usr/bin/env bash
# Test as a Slurm job with one process per GPU; more options for srun go into SRUN_ARGS, separated by blanks.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

need 4 "PARTITION JOB_NAME CONFIG CHECKPOINT [args of test.py...]" $# \
    "GPUS=8 GPUS_PER_NODE=8 (at most GPUS) CPUS_PER_TASK=5 SRUN_ARGS="
launch_slurm "$1" "$2" test.py "$3" "$4" --launcher slurm "${@:5}"
