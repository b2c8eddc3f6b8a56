# make demo       run a three-stage study on four tiny models, offline
# make test       run all tests except long simulations, training and long fuzzing
# make test-full  run all tests: `make test`, `make fuzz`, the simulations and training
# make fuzz       run 30,000 cases of damaged input of every kind (`make test` runs 2,000)
# make quick      run the tests that take less than 5 seconds each
# make lint       run ruff, mypy and the import contracts
# make docs       build the documentation into ./site
# make mutants    insert 50 small faults into the package, one at a time, and check that the tests find each
# make bench      run the benchmarks that need no GPU; make bench-gpu runs those on a GPU
# make clean      delete the virtual environment, builds and the demo's output
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md $(shell find mergekit_finance lm_eval_tasks recipes -type f -not -name '*.pyc')

.PHONY: demo test test-full fuzz quick lint docs mutants clean bench bench-startup bench-tasks bench-kernels bench-merge bench-session \
	bench-similarity bench-sharing bench-demo bench-kill bench-gpu-workers bench-eval bench-search bench-gpu

# Install the dependencies in the versions of constraints.txt, once.
$(BIN)/.dependencies: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt '.[dev]'
	touch $@

# Install the package as a wheel, whenever one of its files has changed.
$(BIN)/.package: $(BIN)/.dependencies $(SOURCES)
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation --force-reinstall .
	touch $@

demo: $(BIN)/.package
	$(BIN)/mergekit-finance demo

# Two workers, one core each. All tests of a file run in the same worker, so that they share fixtures. Files run in the
# order of collection, so that the end-to-end tests, which take longest, start first.
WORKERS ?= -n 2 --dist loadfile --no-loadscope-reorder

SHORT := not simulation and not fuzz and not network

test: $(BIN)/.package
	$(BIN)/pytest $(WORKERS) -m "$(SHORT)"

test-full: test fuzz
	$(BIN)/pytest $(WORKERS) -m "simulation and not network"

# Hypothesis prints the smallest failing case. `make fuzz SEED=...` repeats the cases of an earlier run.
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

# The theme advertises its successor at every start.
docs: $(BIN)/.package
	$(BIN)/python -m pip install -q -c constraints.txt '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# JOBS is the number of copies of the tree that are tested in parallel. After an interruption, repeat to continue.
JOBS ?= 2
mutants: $(BIN)/.package
	$(BIN)/python tests/mutation/mutate.py --jobs $(JOBS)

# There is one target per benchmark. Test models (1.3 GB) are created once in MODELS. `make bench` runs all benchmarks
# without a GPU, one after the other. It takes 20 minutes on 2 cores. Do not run anything else at the same time.
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

# Not in `make bench`: an hour on 4 quiet cores. OPTIONS as in tests/benchmarks/sharing.py, such as `--minutes 30`.
bench-sharing: $(BIN)/.package
	$(BENCH)/sharing.py $(OPTIONS)

# Not in `make bench`: the whole study of `demo --full` with both engines side by side, an hour on 2 quiet cores.
bench-demo: $(BIN)/.package
	$(BENCH)/demo_engines.py $(OPTIONS)

# Needs a GPU, and the models of STUDY on this machine.
bench-gpu-workers: $(BIN)/.package
	$(BENCH)/gpu_workers.py $(STUDY)

# How often a race of settings finds what the full grid finds, on the stored results in OUT. `mergekit-finance demo --full`
# writes them. OPTIONS as in tests/benchmarks/search.py. Needs no model.
OUT ?= demo/full
bench-search: $(BIN)/.package
	$(BENCH)/search.py $(OUT) $(OPTIONS)

# Compares the engine `compiled` with lm-eval's `hf`. MODEL is a folder; OPTIONS as in tests/benchmarks/answers.py.
MODEL ?= mergekit_finance/lab/weights/base
bench-eval: $(BIN)/.package
	$(BENCH)/answers.py $(MODEL) $(OPTIONS)

# Kills studies at many moments. Not in `make bench`: it checks files, not times.
bench-kill: $(BIN)/.package
	$(BENCH)/kill_study.py
	$(BENCH)/kill_commands.py --workers 2

# Needs a GPU. DEVICES=cuda:0,cuda:1 runs it on several GPUs.
bench-gpu: $(BIN)/.package
	$(BENCH)/gpu_engine.py $(if $(DEVICES),--devices $(DEVICES))

clean:
	rm -rf $(VENV) build dist demo site
