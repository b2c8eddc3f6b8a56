# make demo   the main job on tiny models, offline        make test   the whole suite, as CI runs it
# make quick  the tests that take seconds                  make lint   ruff
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md $(shell find mergekit_finance lm_eval_tasks recipes -type f -not -name '*.pyc')

.PHONY: demo test quick lint bench clean

# Dependencies, once: under the pins of constraints.txt.
$(BIN)/.dependencies: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt '.[dev]'
	touch $@

# The package itself, as a wheel, whenever a file of it changed.
$(BIN)/.package: $(BIN)/.dependencies $(SOURCES)
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --force-reinstall .
	touch $@

demo: $(BIN)/.package
	$(BIN)/mergekit-finance demo

# Two workers: most of the time goes into starting hosts, one core each. Whole files stay together, so that
# an environment is built once.
WORKERS := -n 2 --dist loadfile

test: $(BIN)/.package
	$(BIN)/pytest $(WORKERS)

quick: $(BIN)/.package
	$(BIN)/pytest $(WORKERS) -m "not slow"

lint: $(BIN)/.package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(BIN)/.package
	$(BIN)/python tests/benchmarks/startup.py

clean:
	rm -rf $(VENV) build dist demo
