# shellcheck shell=bash
# Make sure that a Python environment with this package is active; the other scripts source it:
#
#   source tools/setup_env.sh runtime    # what the package needs
#   source tools/setup_env.sh tests      # that, and what the test suite needs
#
# It uses the active environment, or else .venv at the repository's root, which it makes if there is none. To build on
# a torch of the system's Python, make that one yourself first: `python3 -m venv --system-site-packages .venv`. pip runs
# only if this clone was not installed there yet, or its requirements changed since. It never replaces a torch.

seitpp_setup() {
    local level="$1" root env
    root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
    env="${VIRTUAL_ENV:-$(python3 -c 'import sys; print(sys.prefix if sys.prefix != sys.base_prefix else "")')}" || env=""
    [[ -n "$env" || "${CONDA_DEFAULT_ENV:-base}" == base ]] || env="$CONDA_PREFIX"
    env="${env:-$root/.venv}"
    seitpp_prepare "$root" "$level" "$env" || return 1
    export VIRTUAL_ENV="$env" PATH="$env/bin:$PATH"
    unset PYTHONHOME
}

# Make the environment and install what is missing; of two commands at once, the second waits for the first.
seitpp_prepare() (
    root="$1" level="$2" env="$3" python="$3/bin/python"
    if command -v flock >/dev/null; then flock 9; fi
    if [[ ! -x "$python" ]]; then
        for base in python3 python3.13 python3.12 python3.11 python3.10; do
            "$base" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && break
        done
        if ! "$base" -m venv "$env"; then
            echo "setup_env.sh: cannot make $env; it takes Python 3.10 or newer with venv (python3-venv)" >&2
            exit 1
        fi
    fi
    seitpp_refuse_originals "$python" || exit 1
    # The stamp of an environment: what was installed last, and on the last line at which level.
    installed="$("$python" --version) $root $(cat "$root"/setup.py "$root"/requirements/*.txt | cksum)"
    stamp="$(cat "$env/.seitpp-installed" 2>/dev/null)"
    [[ "$stamp" =~ ^"$installed"$'\n'("$level"|tests)$ ]] && exit 0
    echo "Installing into $env (the first time: a few minutes and about 6 GB)" >&2
    pip() { "$python" -m pip install --quiet --no-input --disable-pip-version-check "$@"; }
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null || exit 1
    torch="$("$python" -c 'from importlib.metadata import version; print("torch==" + version("torch"))' 2>/dev/null)"
    [[ "$level" == runtime ]] || root="${root}[$level]"
    pip ${torch:+"$torch"} --editable "$root" || exit 1
    # A machine without libGL, as most containers are, takes the same OpenCV without windows.
    "$python" -c 'import cv2' 2>/dev/null || pip --no-deps --force-reinstall opencv-python-headless || exit 1
    cd / && "$python" -W ignore -c 'import torch, torchvision, cv2, mmengine, mmcv, mmpretrain, mmseg' || exit 1
    printf '%s\n' "$installed" "$level" >"$env/.seitpp-installed"
) 9<"$1/setup.py"

# The forks and the originals of the OpenMMLab packages install files of the same names over each other.
seitpp_refuse_originals() {
    "$1" - <<'PY'
import sys
from importlib.metadata import distributions

originals = {"mmengine", "mmengine-lite", "mmcv", "mmcv-lite", "mmcv-full", "mmpretrain", "mmsegmentation"}
found = sorted(originals & {str(one.metadata["Name"]).lower() for one in distributions()})
forks = sorted({f"onedl-{name.split('-')[0]}" for name in found})
if found:
    sys.exit(
        f"setup_env.sh: {sys.prefix} holds {', '.join(found)}. It and {', '.join(forks)}, which this project uses, "
        "install files of the same names over each other. Use another environment, or uninstall both kinds; the script "
        f"then installs what it needs: {sys.executable} -m pip uninstall {' '.join(found + forks)}"
    )
PY
}

seitpp_setup "${1:-runtime}"
