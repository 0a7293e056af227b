# `make demo` and `make test` need only make and Python 3.11 or newer.

EXTRAS ?= test
VENV ?= .venv
# Two processes: the suite takes half the time on two cores.
PYTEST_ARGS ?= -n 2 --dist loadfile

# Take python3 if it is new enough, otherwise a newer one that stands beside it.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,\
            $(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))

BIN := $(VENV)/bin
comma := ,
# One stamp for each set of extras, as in .venv/.installed-test-sherpa.
installed = $(VENV)/.installed-$(subst $(comma),-,$(1))

.PHONY: help demo test lint format typecheck docs bench clean

help:
	@echo "make demo       fit the simulated source that comes with the package; plots in villard-demo/"
	@echo "make test       run all tests (EXTRAS=test,sherpa adds sherpa; PYTEST_ARGS=... goes to pytest)"
	@echo "make lint       check style          make format     apply it"
	@echo "make typecheck  check types          make docs       build docs/_build/index.html"
	@echo "make bench      compare with Gammapy make clean      remove what these made"

demo: $(call installed,core)
	$(BIN)/villard demo --overwrite

test: $(call installed,$(EXTRAS))
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(call installed,dev)
	$(BIN)/ruff check .

format: $(call installed,dev)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(call installed,dev)
	$(BIN)/mypy

docs: $(call installed,docs)
	$(BIN)/python docs/build.py

bench: $(call installed,test)
	$(BIN)/python benchmarks/spectral.py
	@if [ -n "$$GAMMAPY_DATA" ]; then $(BIN)/python benchmarks/maps.py; fi

clean:
	rm -rf $(VENV) villard-demo docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	  echo "Villard needs Python 3.11 or newer. Found: $$(python3 --version 2>&1 || echo no python3)." >&2; \
	  echo "Install one, or say where it is: make PYTHON=/path/to/python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) can't make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	  exit 1; }

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".$(if $(filter-out core,$*),[$(subst -,$(comma),$*)])"
	@touch $@
