#!/usr/bin/env bash
# Train with one process per GPU, or GPUS processes on the CPU (gloo) if there is none.
#
# On several machines, run the same line on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

need 2 "CONFIG GPUS [args of train.py...]" $# "NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=(a free one)"
launch_dist "$2" train.py "$1" --launcher pytorch "${@:3}"
