#!/usr/bin/env bash
# From raw pixels to trained and scored models in minutes on a CPU; results go to work_dirs/quickstart/.
#
#   bash tools/quickstart.sh [args of tools/quickstart.py...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/setup_env.sh runtime

exec python tools/quickstart.py "$@"
