#!/usr/bin/env bash
# Build the wheel, install it without extras in a fresh environment, and use it from an empty folder.
set -euo pipefail
python="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
here="$(cd "$(dirname "$0")" && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"$python" -m build --quiet --wheel --outdir "$work/dist" "$here/.."
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$work"/dist/*.whl
cp "$here/wheel_smoke.py" "$work/smoke.py"
cd "$work"
env -i PATH=/usr/bin:/bin HOME="$work" LANG=C.UTF-8 "$work/venv/bin/python" -W error smoke.py "$work/venv/bin/stackroom"
