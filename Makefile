# make demo       the main job on tiny models, offline
# make test       all tests but long simulations and long fuzzing
# make test-full  those too: every simulation, and all cases of `make fuzz`
# make fuzz       30,000 cases of damaged input of every kind (make test runs 2,000 of them)
# make quick      the tests that take seconds
# make lint       ruff, mypy and the import contracts
# make mutants    50 small faults put into the package, one at a time: the tests must notice each
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md $(shell find mergekit_finance lm_eval_tasks recipes -type f -not -name '*.pyc')

.PHONY: demo test test-full fuzz quick lint mutants clean bench bench-startup bench-tasks bench-kernels bench-merge bench-session \
	bench-similarity bench-gpu

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

# Two workers, one core each. Whole files stay together, so that what a file's tests share is made once, and run in
# the order of collection: the end-to-end tests, which take longest, first.
WORKERS ?= -n 2 --dist loadfile --no-loadscope-reorder

SHORT := not simulation and not fuzz and not network

test: $(BIN)/.package
	$(BIN)/pytest $(WORKERS) -m "$(SHORT)"

test-full: test fuzz
	$(BIN)/pytest $(WORKERS) -m "simulation and not network"

# Hypothesis shows the smallest case that fails; `make fuzz SEED=...` runs the same cases again.
CASES ?= 30000
SEED ?= $(shell date +%s)
fuzz: $(BIN)/.package
	@echo "make fuzz CASES=$(CASES) SEED=$(SEED)"
	FUZZ_CASES=$(CASES) FUZZ_SEED=$(SEED) $(BIN)/pytest -n 2 --dist worksteal -m fuzz tests/fuzz

quick: $(BIN)/.package
	$(BIN)/pytest $(WORKERS) -m "$(SHORT) and not slow"

lint: $(BIN)/.package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# JOBS copies of the tree at once; an interrupted run goes on where it was.
JOBS ?= 2
mutants: $(BIN)/.package
	$(BIN)/python tests/mutation/mutate.py --jobs $(JOBS)

# Every benchmark, one command each; models of 1.3 GB are made once under MODELS. `make bench` runs what needs
# no GPU, one after the other (20 minutes on 2 cores; nothing else should run).
MODELS ?= /tmp/bench_models
BENCH := $(BIN)/python tests/benchmarks

bench: bench-startup bench-tasks bench-kernels bench-merge bench-session bench-similarity

bench-startup: $(BIN)/.package
	$(BENCH)/startup.py

bench-tasks: $(BIN)/.package
	$(BENCH)/task_index.py

bench-kernels: $(BIN)/.package
	$(BENCH)/engine.py

bench-merge: $(BIN)/.package
	$(BENCH)/merge_vs_mergekit.py --models $(MODELS)/llama

bench-session: $(BIN)/.package
	$(BENCH)/session.py --models $(MODELS)/llama

bench-similarity: $(BIN)/.package
	$(BENCH)/similarity.py 7 $(MODELS)/similarity

# On a machine with a GPU; DEVICES=cuda:0,cuda:1 tries several.
bench-gpu: $(BIN)/.package
	$(BENCH)/gpu_engine.py $(if $(DEVICES),--devices $(DEVICES))

clean:
	rm -rf $(VENV) build dist demo
