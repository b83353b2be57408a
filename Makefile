# `make mnist`, `make test` and `make check` do all their own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help mnist test matrix check docs conventions golden fuzz bench pages compare smooth soak clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

define CHECK_PYTHON
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradc needs Python 3.11 or later: make PYTHON=python3.11 ...")'
endef

$(READY): pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev,docs,examples]'
	@touch $(READY)

mnist: $(READY)  ## train the flagship example, then run the tests; make mnist ARGS="--data DIR"
	@$(BIN)/python examples/mnist/train.py $(ARGS)
	@$(BIN)/python -m pytest -q tests/test_mnist.py

test: $(READY)  ## run the tests; make test ARGS="tests/test_nn.py"
	@$(BIN)/python -m pytest -q $(ARGS)

matrix:  ## run the tests on every Python at hand, and on the oldest packages; make matrix ARGS="--only python3.13"
	$(CHECK_PYTHON)
	@$(PYTHON) .ci/matrix.py $(ARGS)

check: $(READY)  ## lint, format, types, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory docs

docs: $(READY)  ## build the documentation to docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -E -q -b html docs docs/_build/html

conventions: $(READY)  ## renew docs/conventions.md from the declarations of the ops
	@$(BIN)/python -m gradc.registry --conventions docs/conventions.md

golden: $(READY)  ## renew docs/mnist_step.md: the emitted source of the MNIST step, beside a person's
	@$(BIN)/python -m benchmarks.calls > docs/mnist_step.md

# Of 100,000: 40,000 derivatives, 44,000 calls (11,000 a test), 16,000 plans (8,000 a test); some 30 minutes of one quiet core.
FUZZ ?= 100000
fuzz: $(READY)  ## 100,000 random graphs: derivatives against 60 digits, calls and plans against the reference; make fuzz FUZZ=5000
	@GRADC_FUZZ=$$(($(FUZZ) * 40 / 100)) $(BIN)/python -m pytest -q tests/test_fuzz_derivatives.py
	@GRADC_FUZZ=$$(($(FUZZ) * 11 / 100)) $(BIN)/python -m pytest -q tests/test_fuzz_updates.py
	@GRADC_FUZZ=$$(($(FUZZ) * 8 / 100)) $(BIN)/python -m pytest -q tests/test_executor.py -k "planned or never"

# The peers are installed one by one: what this machine cannot install, the run goes on without, and says so.
BENCH := .bench-venv
$(BENCH)/.ready: benchmarks/requirements.txt pyproject.toml
	$(CHECK_PYTHON)
	$(PYTHON) -m venv $(BENCH)
	@grep -v '^#' benchmarks/requirements.txt | while read -r peer; do \
	    $(BENCH)/bin/python -m pip install --quiet "$$peer" || echo "bench: $$peer cannot be installed here, going on without it"; \
	done
	$(BENCH)/bin/python -m pip install --quiet -e .
	@touch $@

bench: $(BENCH)/.ready  ## time gradc against hand-written NumPy and its peers; make bench ARGS="--workload mnist --peer jax"
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

pages: $(BENCH)/.ready  ## renew both pages of figures, docs/benchmarks.md of one core, docs/two_cores of two; some 15 minutes, on a quiet machine
	@$(BENCH)/bin/python -m benchmarks --cores 1 --rounds 15 --output docs
	@$(BENCH)/bin/python -m benchmarks --cores 2 --rounds 15 --output docs/two_cores --section steady

compare: $(BENCH)/.ready  ## hold gradc against JAX and PyTorch, function by function and on 20,000 random graphs; renews docs/comparison.md
	@$(BENCH)/bin/python -m benchmarks.compare $(ARGS)

smooth: $(BENCH)/.ready  ## hold smooth functions written with kinked ops against 50 digits, JAX and PyTorch; renews docs/smooth.md
	@$(BENCH)/bin/python -m benchmarks.smooth $(ARGS)

soak: $(READY)  ## a million calls, planned against measured memory, and 16 threads (a few minutes)
	@$(BIN)/python -m benchmarks.memory
	@$(BIN)/python -m benchmarks.threads

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(BENCH) .matrix .mypy_cache .ruff_cache .pytest_cache docs/_build out
