# make demo   the main job on tiny models, offline        make test   the whole suite, as CI runs it
# make quick  the tests that take seconds                  make lint   ruff
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md $(shell find mergekit_finance lm_eval_tasks recipes -type f -not -name '*.pyc')

.PHONY: demo test quick lint clean bench bench-startup bench-tasks bench-kernels bench-merge bench-session \
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
