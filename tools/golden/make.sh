#!/usr/bin/env bash
# Write every golden store anew, each with the release that it is named after: ./make.sh [FOLDER].
# Needs Python 3.11, the package index and ten minutes.
set -euo pipefail
cd "$(dirname "$0")"
cache=${GOLDEN_VENVS:-/tmp/golden-venvs}
out=${1:-../../tests/compat/golden}
export PYTHONHASHSEED=0 # the order of a set's items, which one pickle holds

run() { # NAME "PACKAGES" SCRIPT [ARGUMENTS]
  local name=$1 packages=$2
  shift 2
  if [ ! -e "$cache/$name/.installed" ]; then
    python3 -m venv "$cache/$name"
    # shellcheck disable=SC2086
    "$cache/$name/bin/python" -m pip install --quiet --disable-pip-version-check $packages
    touch "$cache/$name/.installed"
  fi
  "$cache/$name/bin/python" -W ignore "$@" "$out"
}

early='numpy<2 openai<1 pydantic<2'
run core-0.14 'llama-index-core==0.14.25 llama-index-vector-stores-faiss==0.7.0 faiss-cpu==1.15.1' llamaindex_core.py
run core-0.14 '' others.py registry
run core-0.13 'llama-index-core==0.13.6' airunner.py
run core-0.12 'llama-index-core==0.12.52' llamaindex_core.py
run core-0.10 'llama-index-core==0.10.68 numpy<2 pydantic<2.10' llamaindex_core.py
run early-0.9 'llama-index==0.9.48 numpy<2' llamaindex_early.py
run early-0.8 'llama-index==0.8.69 langchain==0.0.330 numpy<2 pydantic<2' llamaindex_early.py
run early-0.6 "llama-index==0.6.38 langchain==0.0.218 $early" llamaindex_early.py
run early-0.5 "llama-index==0.5.27 langchain==0.0.142 $early" llamaindex_early.py
run early-0.4 "llama-index==0.4.40 langchain==0.0.127 $early" llamaindex_early.py
run langchain 'langchain-community==0.4.2 langchain-core==1.8.3 faiss-cpu==1.15.1' others.py langchain
run nano 'nano-vectordb==0.0.4.3' others.py nano
run nano '' others.py plain
