#!/usr/bin/env bash
# Test with one process for each GPU, or GPUS processes on the CPU (gloo) if there is none.
#
# On several machines, run the same line on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail

if [[ $# -lt 3 ]]; then
    echo "Usage: bash $0 CONFIG CHECKPOINT GPUS [args of test.py...]" >&2
    echo "Environment: NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=(a free one)" >&2
    exit 1
fi

CONFIG=$1
CHECKPOINT=$2
GPUS=$3
shift 3

NNODES=${NNODES:-1}
NODE_RANK=${NODE_RANK:-0}
MASTER_ADDR=${MASTER_ADDR:-127.0.0.1}
if [[ -z "${PORT:-}" ]]; then
    PORT=29500
    if [[ "$NNODES" -eq 1 ]]; then # a free port, so that several jobs share a machine
        PORT=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    fi
fi

# mmengine sets these to 1 in every distributed run, with a warning if they were not set.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}"

exec python -m torch.distributed.run \
    --nnodes="$NNODES" \
    --node_rank="$NODE_RANK" \
    --master_addr="$MASTER_ADDR" \
    --master_port="$PORT" \
    --nproc_per_node="$GPUS" \
    "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
