#!/usr/bin/env bash
# What a first run on a GPU has to show, in under 8 minutes: training steps of MTM and SeiT beside the plain baseline,
# the gpu tests, what augmentation costs in training (Table B), where the time of a step goes, augmentations eager and
# compiled, the data path, and tokenising. Tables go to OUT/report.txt, figures to OUT/*.json.
#
#   bash tools/gpu_report.sh OUT            on a GPU
#   bash tools/gpu_report.sh OUT --small    the same at toy sizes on a CPU, to try it out
#
# A step that fails, or takes longer than its share of the time, leaves the others alone; the status is then 1.
# SEITPP_REPORT_SECONDS gives all of them together, with the wheels below, another time than 470 s.
# It runs in the Python that is active if that has all packages, and otherwise makes an environment as the other
# scripts do. On a machine without a package registry, WHEELS=DIR installs the wheels of that folder first;
# docs/performance.md says how to make it.
set -uo pipefail

out="${1:?usage: bash tools/gpu_report.sh OUT [--small]}"
size="${2:-}"
if [[ -n "$size" && "$size" != --small ]]; then
    echo "gpu_report.sh: expected --small, not $size" >&2
    exit 2
fi
total="${SEITPP_REPORT_SECONDS:-470}" # for all steps
if [[ ! "$total" =~ ^[1-9][0-9]*$ ]]; then
    echo "gpu_report.sh: SEITPP_REPORT_SECONDS=$total is no number of seconds" >&2
    exit 2
fi
mkdir -p "$out" && out="$(cd "$out" && pwd)" || exit 1
wheels=()
if [[ -n "${WHEELS:-}" ]]; then
    wheels=("$(realpath "$WHEELS")"/*.whl)
    if [[ ! -f "${wheels[0]}" ]]; then
        echo "gpu_report.sh: WHEELS=$WHEELS holds no wheels" >&2
        exit 1
    fi
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
export PYTHONPATH="$PWD" PYTHONUNBUFFERED=1
SECONDS=0
if ((${#wheels[@]})); then
    python3 -m pip install --quiet --no-index --no-deps "${wheels[@]}" || exit 1
fi
needed="import torch, torchvision, sklearn, scipy, torchmetrics, safetensors, rich, pytest, mmpretrain, mmseg, zstandard"
if ! python3 -W ignore -c "$needed" 2>/dev/null; then
    source tools/setup_env.sh tests || exit 1
    SECONDS=0
fi

data="$(mktemp -d)"
trap 'rm -rf "$data"' EXIT
report="$out/report.txt"
: >"$report"
rm -f "$out"/{mtm,seit,cost,augment,data,vitvqgan,vqgan,profile}.json # of an earlier report, if a step fails in this one
failed=()
count=0

# step NAME SECONDS COMMAND...: run a command within its time, show what it prints, and note whether it failed.
step() {
    local name="$1" limit="$2" left=$((total - SECONDS)) status=0
    shift 2
    count=$((count + 1))
    printf '\n== %s: %s\n' "$name" "$*" | tee -a "$report"
    ((limit = limit < left ? limit : left))
    if ((limit < 1)); then
        status="no time left"
    else
        timeout --kill-after=3 "$limit" "$@" 2>&1 | tee -a "$report" || status=${PIPESTATUS[0]}
        [[ "$status" == 124 || "$status" == 137 ]] && status="took more than $limit s"
    fi
    [[ "$status" == 0 ]] || failed+=("$name ($status)")
    printf -- '-- %s after %d s in all, status: %s\n' "$name" "$SECONDS" "$status" | tee -a "$report"
}

tools=tools/analysis_tools
if [[ "$size" == --small ]]; then
    export CUDA_VISIBLE_DEVICES=""
    mtm=configs/mtm/mtm_vit-tiny-p2_1xb64-100e_digits-tokens.py
    seit=configs/seit/seit_vit-tiny-p2_1xb64-60e_digits-tokens.py
    train=(--device cpu --batch-size 4 --rounds 1 --images 16 --resident --candidates plain eager-bfloat16)
    step tests 120 python3 -m pytest -q -m gpu --collect-only -p no:cacheprovider tests/test_gpu.py
    step mtm 120 python3 $tools/benchmark_train.py $mtm --synthetic "$data" "${train[@]}" --out "$out/mtm.json"
    step seit 120 python3 $tools/benchmark_train.py $seit --synthetic "$data/seit" "${train[@]}" --out "$out/seit.json"
    step cost 120 python3 $tools/cost_table.py $seit configs/seitpp/seitpp_vit-tiny-p2_1xb64-60e_digits-tokens.py \
        --device cpu --batch-size 4 --images 16 --rounds 1 --amp --out "$out/cost.json"
    step augment 120 python3 $tools/benchmark_augment.py --batch-size 2 --rounds 1 --backend eager \
        --out "$out/augment.json"
    step data 120 python3 $tools/benchmark_data.py --grid 8 --batch-size 4 --naive-images 1 --photographs 1 --rounds 1 \
        --out "$out/data.json"
    tokenize=(--images 2 --batch-size 2 --rounds 1 --workers 0)
    step vitvqgan 120 python3 $tools/benchmark_tokenize.py configs/tokenizers/vitvqgan_tiny-p4-k256_photos-32px.py \
        "${tokenize[@]}" --out "$out/vitvqgan.json"
    step vqgan 120 python3 $tools/benchmark_tokenize.py configs/tokenizers/ldm_vq_f8.py "${tokenize[@]}" \
        --cfg-options tokenizer.image_size=32 --out "$out/vqgan.json"
    step profile 120 python3 $tools/profile_step.py $mtm --synthetic "$data" --device cpu --batch-size 4 --images 16 \
        --out "$out/profile.json"
else
    mtm=configs/seitpp/mtm_vitb.py
    seit=configs/seit/seit_vit-base-p16_8xb128-300e_in1k-tokens.py
    data_options=(--device cuda --synthetic "$data" --images 1281167)
    train=("${data_options[@]}" --resident --rounds 3 --steps 5 --candidates plain eager-bfloat16 compiled-bfloat16
        --cfg-options compile.per_block=True) # whole networks, which may be faster still, compile for minutes
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee -a "$report"
    fi
    # Most worth first. The limits sum to less than the time of all, so that no step takes another's.
    step mtm 115 python3 $tools/benchmark_train.py $mtm "${train[@]}" --out "$out/mtm.json"
    step seit 80 python3 $tools/benchmark_train.py $seit "${train[@]}" --batch-size 256 --out "$out/seit.json"
    mapfile -t gpu_tests < <(grep -rl --include='test_*.py' 'mark\.gpu' tests) # others may need what is not installed
    step tests 80 python3 -m pytest -q -m gpu -p no:cacheprovider -o filterwarnings=default "${gpu_tests[@]}"
    step cost 45 python3 $tools/cost_table.py --device cuda --amp --resident --rounds 3 --steps 3 --out "$out/cost.json"
    step augment 40 python3 $tools/benchmark_augment.py --device cuda --batch-size 128 --rounds 5 \
        --out "$out/augment.json"
    step profile 30 python3 $tools/profile_step.py $mtm "${data_options[@]}" --out "$out/profile.json"
    step data 25 python3 $tools/benchmark_data.py --device cuda --rounds 3 --out "$out/data.json"
    tokenize=(--device cuda --images 256 --batch-size 64 --rounds 3 --workers 8)
    step vitvqgan 25 python3 $tools/benchmark_tokenize.py configs/tokenizers/vitvqgan_base.py "${tokenize[@]}" \
        --out "$out/vitvqgan.json"
    step vqgan 25 python3 $tools/benchmark_tokenize.py configs/tokenizers/vqgan_f16_1024.py "${tokenize[@]}" \
        --out "$out/vqgan.json"
fi

if ((${#failed[@]})); then
    printf '\ngpu_report.sh: %d of %d steps failed: %s\n' "${#failed[@]}" "$count" "$(IFS=,; echo "${failed[*]}")" |
        tee -a "$report" >&2
    exit 1
fi
printf '\n%d steps in %d s; %s\n' "$count" "$SECONDS" "$report" | tee -a "$report"
