#!/usr/bin/env bash
# What only a GPU can show, in at most eight minutes: its tests, its agreement with the CPU, and what listening costs.
#
#   bash benchmarks/gpu.sh                     # writes gpu-results/gpu.json and gpu.md, or both into $OUT
#   PYTHON=.venv/bin/python bash benchmarks/gpu.sh
#
# Runs from the working tree and installs nothing. Needs a Python with sppkit's dependencies, a torch that sees the GPU,
# pytest and hypothesis. Where packages lie as wheels in ./wheels, they are unpacked beside the results first.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
out=${OUT:-gpu-results}
# Eight minutes, less what tests and benchmarks may go on for once their time is up.
tests_s=180
benchmarks_s=240

stop() {
  echo "gpu.sh: $1" >&2
  exit 2
}

export PYTHONPATH=$PWD
if [ -d wheels ]; then
  packages=$(mktemp -d)
  trap 'rm -rf "$packages"' EXIT
  "$python" -m pip install --quiet --no-index --no-deps --target "$packages" wheels/*.whl ||
    stop "the packages in wheels/ can't be installed."
  PYTHONPATH=$PYTHONPATH:$packages
fi
missing=$("$python" - <<'PYTHON'
from importlib.util import find_spec
needed = ("torch", "numpy", "pandas", "psutil", "rich", "safetensors", "typer", "pytest", "hypothesis")
print(*[name for name in needed if find_spec(name) is None])
PYTHON
) || stop "$python can't be run; name another: PYTHON=.venv/bin/python bash benchmarks/gpu.sh"
[ -z "$missing" ] || stop "$python has no $missing; name another: PYTHON=.venv/bin/python bash benchmarks/gpu.sh"
"$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
  stop "torch finds no CUDA device here; run it on a machine with a GPU."

mkdir -p "$out"
"$python" setup.py --quiet build_ext --inplace || echo "gpu.sh: without the compiled part of the CPU's statistics" >&2

# Only files with such a test: the others may need what is not installed here.
status=0
timeout "$tests_s" "$python" -m pytest -m gpu -p no:cacheprovider --junitxml "$out/tests.xml" \
  $(grep -l 'mark\.gpu' tests/*.py) || status=$?
"$python" -m benchmarks.gpu --seconds "$benchmarks_s" --tests "$status" --out "$out"
[ "$status" -eq 0 ] || exit 1
