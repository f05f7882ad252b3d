# Everything one needs to do with the project, one short command each, the same here and in CI. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
VENV ?= .venv
EXTRAS ?= all,test
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The set-up and the tests need no model hub; a model that is asked for by name is still looked for there by `attn`.
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup demo test check format docs dist bench viewer train-demo-models conformance conformance-mechanism conformance-modules conformance-places reliability soak properties mutation pin clean

help: ## Show these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "make %-18s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv and install everything into it, with the versions of constraints.txt

# Runs again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; call make PYTHON=… to name one.")'
	@test -x $(BIN)/python || { echo "Making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing into $(VENV) (the first time this takes some minutes; torch is large)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $(STAMP)

demo: setup ## Analyse every head of a bundled model on a sentence: table in the terminal, figures in demo-output/
	@$(BIN)/attn demo

# Two workers with one thread each: on two cores this is faster than one worker with two.
WORKERS ?= 2
test: setup ## Run all tests; what is skipped is listed with its reason
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

check: setup ## Lint, formatting, types and the import rule
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_import_rule.py

format: setup ## Let ruff format and repair what it can
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

docs: setup ## Build the documentation site into build/docs; warnings are errors
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "Open build/docs/index.html"

dist: setup ## Build sdist and wheel, and try the wheel in new environments, with and without extras
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[release]'
	@$(BIN)/python tools/dist.py

bench: setup ## Measure time and memory against the plain model; writes the tables of README.md and docs/
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)
	@$(BIN)/python -m benchmarks.parts

viewer: ## Rebuild the viewer's one JavaScript file; fails if it differs from the committed one
	@cd viewer && npm ci --silent && npm run --silent build
	@git diff --exit-code --stat -- src/attention_analyzer/view/static

train-demo-models: setup ## Train the bundled models again: make train-demo-models DATA=folder-of-texts
	@$(BIN)/python -m demo_models.encoder --data "$(DATA)" --scratch "$(SCRATCH)"
	@$(BIN)/python -m demo_models.decoder --data "$(DATA)" --scratch "$(SCRATCH)"
	@$(BIN)/python -m demo_models.translator --scratch "$(SCRATCH)"
	@$(BIN)/python -m demo_models.captioner --scratch "$(SCRATCH)"
	@$(BIN)/python -m demo_models.listener --scratch "$(SCRATCH)"
SCRATCH ?= build/demo-models

conformance: setup ## Prove the capture on every architecture of transformers; writes docs/coverage.md
	@$(BIN)/python -m tests.conformance $(CONFORMANCE_ARGS)

conformance-mechanism: setup ## Examine effects, why and patching on every text type; writes docs/coverage_mechanism.md
	@$(BIN)/python -m tests.conformance.mechanism $(CONFORMANCE_ARGS)

conformance-places: setup ## Try the places of image and sound tokens on every architecture; writes docs/coverage_places.md
	@$(BIN)/python -m tests.conformance.places $(CONFORMANCE_ARGS)

conformance-modules: setup ## Prove the capture on modules outside of transformers that are installed; writes docs/coverage_modules.md
	@$(BIN)/python -m tests.conformance.modules $(CONFORMANCE_ARGS)

reliability: setup ## Attack files, folders and disks 1,000 times each; writes docs/reliability.md
	@$(BIN)/python -m tests.reliability $(RELIABILITY_ARGS)

soak: setup ## Thousands of analyses in one process, half of them interrupted; at most 15 minutes; a row of docs/reliability.md
	@$(BIN)/python -m tests.reliability --only "in any order" --count 1000

PROPERTIES := tests/weights tests/kernels tests/hooks/test_strides.py tests/external/test_given_queries.py
properties: setup ## Try every property of passes and reductions with 25 times as many cases as make test
	PROPERTY_TIMES=25 $(BIN)/python -m pytest -q -m "hypothesis" $(PROPERTIES)

mutation: setup ## Change the code in many places, one at a time, and count what the tests notice; writes docs/mutation.md
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[mutation]'
	@$(BIN)/python tools/mutation.py $(MUTATION_ARGS)

pin: setup ## Resolve constraints.txt again within its pins (PIN_ARGS=--upgrade: take newer versions)
	@$(BIN)/python tools/pin.py $(PIN_ARGS)

clean: ## Remove what the commands above made, but not .venv
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output
