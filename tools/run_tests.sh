#!/usr/bin/env bash
# Lint, formatting, the contract of imports, types and the test suite, in an environment that is made if there is none.
#
#   bash tools/run_tests.sh                              # everything but `slow` and `gpu`
#   bash tools/run_tests.sh -m slow                      # arguments go to pytest
#   bash tools/run_tests.sh tests/test_packaging.py -x
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/setup_env.sh tests

# Tests run many small steps, which threads only slow down.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"

status=0
python -m ruff check . || status=$?
python -m ruff format --check . || status=$?
lint-imports --no-logo --no-cache || status=$?
python -m mypy || status=$?
# Two at a time, as the files come; `-n 0` at the end of the line is one, for a debugger.
python -m pytest -n 2 --dist worksteal "$@" || status=$?
exit "$status"
