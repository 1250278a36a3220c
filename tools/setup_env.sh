# shellcheck shell=bash
# Makes sure that a Python environment with this package is active; sourced by the other scripts:
#
#   source tools/setup_env.sh runtime    # what the package needs
#   source tools/setup_env.sh tests      # that, and what the test suite needs
#
# An active virtual environment (or conda environment other than `base`) is used as it is. Otherwise `.venv` at the
# repository root is used, and made if it is not there. To build on packages of the system's Python, a torch for
# instance, make it yourself first: `python3 -m venv --system-site-packages .venv`.
#
# pip runs only if setup.py, requirements/, the Python version or the place of the repository changed since the last
# successful run, or if something is missing. An installed torch is never replaced.

SEITPP_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"

seitpp_error() {
    printf 'setup_env.sh: %s\n' "$*" >&2
    return 1
}

# Folder of the environment to use; the active one, else the repository's own.
seitpp_environment() {
    local prefix
    if [[ -n "${VIRTUAL_ENV:-}" && -x "$VIRTUAL_ENV/bin/python" ]]; then
        echo "$VIRTUAL_ENV"
    elif prefix="$(python3 -c 'import sys; print(sys.prefix); sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null)"; then
        echo "$prefix"
    elif [[ "${CONDA_DEFAULT_ENV:-base}" != base && -x "${CONDA_PREFIX:-}/bin/python" ]]; then
        echo "$CONDA_PREFIX"
    else
        echo "$SEITPP_ROOT/.venv"
    fi
}

# A Python that can make the environment.
seitpp_base_python() {
    local candidate
    for candidate in python3 python3.12 python3.13 python3.11 python3.10 python; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
            command -v "$candidate"
            return 0
        fi
    done
    seitpp_error "no Python >= 3.10 with the modules venv and ensurepip found (python3 is" \
        "$(python3 --version 2>&1 || true)). Install one (on Debian and Ubuntu also the package python3-venv)," \
        "or activate a virtual environment that has one."
}

# seitpp_probe check LEVEL: exit 0 if nothing is to be done, 3 if pip has to run, 1 after an error message.
# seitpp_probe stamp LEVEL: record a successful installation.
# seitpp_probe constraints: print what pip has to leave alone.
seitpp_probe() {
    "$SEITPP_ENV/bin/python" - "$SEITPP_ROOT" "$@" <<'PY'
import hashlib
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path = [entry for entry in sys.path if entry]  # not the working folder: what is installed counts
root, action, *level = sys.argv[1:]
root = Path(root)
NEEDED = {"runtime": ["runtime"], "tests": ["runtime", "tests"]}
UPSTREAM = {"mmengine": "mmengine", "mmengine-lite": "mmengine", "mmcv": "mmcv", "mmcv-lite": "mmcv",
            "mmcv-full": "mmcv", "mmpretrain": "mmpretrain", "mmsegmentation": "mmsegmentation"}


def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def stamp_path(level):
    return Path(sys.prefix) / f".seitpp-{level}.stamp"


def fingerprint():
    parts = [sys.version, str(root)]
    parts += [path.read_text() for path in [root / "setup.py", *sorted((root / "requirements").glob("*.txt"))]]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_stamped(level):
    path = stamp_path(level)
    return path.is_file() and path.read_text() == fingerprint()


def is_complete(level):
    for name in NEEDED[level]:
        for line in (root / "requirements" / f"{name}.txt").read_text().splitlines():
            match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
            if match and installed(match[0]) is None:
                return False
    try:
        import seitpp
    except ImportError:
        return False
    return Path(seitpp.__file__).resolve().parent == root / "seitpp"


def refuse_unusable():
    if sys.version_info < (3, 10):
        sys.exit(f"setup_env.sh: {sys.prefix} has Python {sys.version.split()[0]}; 3.10 or later is needed.")
    found = [name for name in UPSTREAM if installed(name)]
    if found:
        forks = sorted({f"onedl-{UPSTREAM[name]}" for name in found})
        sys.exit(
            f"setup_env.sh: {sys.prefix} holds {', '.join(found)}. It and {', '.join(forks)}, which this project uses, "
            "install files of the same names over each other. Use another environment, or uninstall both kinds; the "
            f"script then installs what it needs: {sys.prefix}/bin/python -m pip uninstall {' '.join(found + forks)}"
        )
    torch = installed("torch")
    if torch and tuple(int(part) for part in re.findall(r"\d+", torch)[:2]) < (2, 6):
        sys.exit(f"setup_env.sh: {sys.prefix} has torch {torch}; 2.6 or later is needed, and the script does not "
                 "replace an installed torch. Upgrade it, or deactivate this environment.")


if action == "check":
    refuse_unusable()
    stamped = is_stamped(level[0]) or is_stamped("tests")
    sys.exit(0 if stamped and is_complete(level[0]) else 3)
elif action == "stamp":
    if not is_complete(level[0]):
        sys.exit("setup_env.sh: pip reported success, but the package or a requirement of it is not there.")
    stamp_path(level[0]).write_text(fingerprint())
elif action == "constraints" and installed("torch"):
    print(f"torch=={installed('torch')}")
PY
}

seitpp_make_environment() {
    local base
    [[ "$SEITPP_ENV" == "$SEITPP_ROOT/.venv" ]] || return 0
    if [[ -x "$SEITPP_ENV/bin/python" && ! -e "$SEITPP_ENV/.seitpp-unfinished" ]]; then
        return 0
    fi
    base="$(seitpp_base_python)" || return 1
    echo "Making $SEITPP_ENV with $("$base" --version)" >&2
    # An environment whose first installation never finished is started afresh.
    mkdir -p "$SEITPP_ENV" && touch "$SEITPP_ENV/.seitpp-unfinished" || return 1
    "$base" -m venv --clear "$SEITPP_ENV" || return 1
    touch "$SEITPP_ENV/.seitpp-unfinished"
}

seitpp_install() {
    local level="$1" python="$SEITPP_ENV/bin/python" target="$SEITPP_ROOT" constraints
    [[ "$level" == tests ]] && target="${SEITPP_ROOT}[tests]"
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null || return 1
    echo "Installing into $SEITPP_ENV (the first time: a few minutes and about 6 GB)" >&2
    constraints="$(mktemp)"
    seitpp_probe constraints >"$constraints"
    if ! "$python" -m pip install --quiet --no-input --disable-pip-version-check --constraint "$constraints" \
        --editable "$target"; then
        rm -f "$constraints"
        seitpp_error "pip failed; see above. Running the same command again continues."
        return 1
    fi
    rm -f "$constraints"
    if ! "$python" -c 'import cv2' 2>/dev/null; then
        # A machine without libGL, as most containers are: the same OpenCV without windows.
        "$python" -m pip install --quiet --no-input --disable-pip-version-check --no-deps --force-reinstall \
            opencv-python-headless || return 1
    fi
    if ! (cd / && "$python" -W ignore -c 'import torch, torchvision, cv2, mmengine, mmcv, mmpretrain, mmseg'); then
        seitpp_error "the installed packages do not import; see above. If torchvision is named, install the one" \
            "that matches the installed torch, or deactivate this environment."
        return 1
    fi
    seitpp_probe stamp "$level" || return 1
    rm -f "$SEITPP_ENV/.seitpp-unfinished"
}

seitpp_ready() {
    [[ -x "$SEITPP_ENV/bin/python" ]] && seitpp_probe check "$1"
}

# Only one of several commands started at once installs; the others wait for it.
seitpp_prepare() (
    if command -v flock >/dev/null; then
        flock 9
    fi
    seitpp_make_environment || exit 1
    seitpp_ready "$1"
    case $? in
        0) exit 0 ;;
        3) seitpp_install "$1" ;;
        *) exit 1 ;;
    esac
) 9<"$SEITPP_ROOT/setup.py"

seitpp_setup() {
    local level="${1:-runtime}" status=0
    case "$level" in
        runtime | tests) ;;
        *)
            seitpp_error "expected runtime or tests, not $level"
            return 1
            ;;
    esac
    SEITPP_ENV="$(seitpp_environment)"
    if [[ -e "$SEITPP_ENV/.seitpp-unfinished" || ! -x "$SEITPP_ENV/bin/python" ]]; then
        status=3
    else
        seitpp_ready "$level" || status=$?
    fi
    if [[ $status -eq 3 ]]; then
        status=0
        seitpp_prepare "$level" || status=$?
    fi
    [[ $status -eq 0 ]] || return 1
    export VIRTUAL_ENV="$SEITPP_ENV" PATH="$SEITPP_ENV/bin:$PATH"
    unset PYTHONHOME
}

seitpp_setup "$@"
