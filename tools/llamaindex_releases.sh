#!/usr/bin/env bash
# One user's program on LlamaIndex's own stores and on ours, with earlier releases of LlamaIndex: each in an environment of its own.
# tools/llamaindex_releases.sh PYTHON FOLDER [RELEASE ...]
set -euo pipefail
python=$1
folder=$2
shift 2
[ $# -gt 0 ] || set -- 0.13 0.12 0.11
for release in "$@"; do
  environment="$folder/llama-index-$release"
  if [ ! -e "$environment/.installed" ]; then
    "$python" -m venv "$environment"
    # In two steps: 0.11 asks for numpy 1, and runs with the 2 that Stackroom needs.
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "llama-index-core==$release.*"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -e . pytest pytest-asyncio
    touch "$environment/.installed"
  fi
  echo "llama-index-core $("$environment/bin/python" -c 'from importlib.metadata import version; print(version("llama-index-core"))')"
  "$environment/bin/python" -W ignore -m pytest -q -p no:cacheprovider -o filterwarnings= -o asyncio_mode=auto \
    tests/adapters/llamaindex/test_end_to_end.py tests/adapters/llamaindex/test_queries.py tests/adapters/llamaindex/test_profiles.py
done
