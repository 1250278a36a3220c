# shellcheck shell=bash
# What dist_*.sh and slurm_*.sh share: run a tool of this folder in several processes. They source it.

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"
# mmengine sets these to 1 in every distributed run, with a warning if they were not set.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"

# need COUNT ARGUMENTS GIVEN ENVIRONMENT: print the usage and end if fewer arguments than COUNT are given.
need() {
    if [[ $3 -lt $1 ]]; then
        echo "Usage: bash $0 $2" >&2
        echo "Environment: $4" >&2
        exit 1
    fi
}

# launch_dist GPUS TOOL ARGS...: one process per GPU, or GPUS processes on the CPU (gloo) if there is none.
launch_dist() {
    local gpus="$1" tool="$2" port="${PORT:-29500}"
    shift 2
    if [[ -z "${PORT:-}" && "${NNODES:-1}" -eq 1 ]]; then # a free port, so that several jobs share a machine
        port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    fi
    exec python -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="$port" \
        --nproc_per_node="$gpus" \
        "$TOOLS/$tool" "$@"
}

# launch_slurm PARTITION JOB_NAME TOOL ARGS...: one process per GPU in a job of its own.
launch_slurm() {
    local partition="$1" name="$2" tool="$3" gpus="${GPUS:-8}" per_node options
    shift 3
    per_node="${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}"
    read -r -a options <<<"${SRUN_ARGS:-}"
    exec srun -p "$partition" \
        --job-name="$name" \
        --gres="gpu:$per_node" \
        --ntasks="$gpus" \
        --ntasks-per-node="$per_node" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 \
        ${options[@]+"${options[@]}"} \
        python -u "$TOOLS/$tool" "$@"
}
