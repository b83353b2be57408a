# `make mnist`, `make test` and `make check` do all their own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help mnist test check clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradc needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev,examples]'
	@touch $(READY)

mnist: $(READY)  ## train the flagship example, then run the tests; make mnist ARGS="--data DIR"
	@$(BIN)/python examples/mnist/train.py $(ARGS)
	@$(BIN)/python -m pytest -q tests/test_mnist.py

test: $(READY)  ## run the tests
	@$(BIN)/python -m pytest -q

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(READY)  ## 20,000 random graphs, planned execution against the reference
	@GRADC_FUZZ=20000 $(BIN)/python -m pytest -q tests/test_executor.py -k "planned or never"

clean:  ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache out
