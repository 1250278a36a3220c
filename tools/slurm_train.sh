#!/usr/bin/env bash
# Train as a Slurm job with one process for each GPU; more options for srun go into SRUN_ARGS, separated by blanks.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "Usage: bash $0 PARTITION JOB_NAME CONFIG [WORK_DIR] [args of train.py...]" >&2
    echo "Environment: GPUS=8 GPUS_PER_NODE=8 (at most GPUS) CPUS_PER_TASK=5 SRUN_ARGS=" >&2
    exit 1
fi

PARTITION=$1
JOB_NAME=$2
CONFIG=$3
shift 3
ARGS=("$CONFIG" --launcher slurm)
if [[ $# -gt 0 && "$1" != -* ]]; then
    ARGS+=(--work-dir "$1")
    shift
fi

GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
read -r -a SRUN_OPTIONS <<<"${SRUN_ARGS:-}"

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
# mmengine sets these to 1 in every distributed run, with a warning if they were not set.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"

exec srun -p "$PARTITION" \
    --job-name="$JOB_NAME" \
    --gres="gpu:$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="$CPUS_PER_TASK" \
    --kill-on-bad-exit=1 \
    ${SRUN_OPTIONS[@]+"${SRUN_OPTIONS[@]}"} \
    python -u "$TOOLS/train.py" "${ARGS[@]}" "$@"
