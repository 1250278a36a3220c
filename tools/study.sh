#!/usr/bin/env bash
# The study of docs/study.md, all of it with one command; what has run is not run again.
#
#   bash tools/study.sh [--size small|full] [other args of tools/study.py...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/setup_env.sh runtime

exec python tools/study.py "$@"
