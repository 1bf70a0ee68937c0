# The few commands that one needs; `make` alone lists them.
# Asks for Python 3.11 or newer with pip, and make; not for venv's own pip (Debian's python3-venv).

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# pip of the system's Python installs into the environment, so that the environment needs none of its own.
PIP    := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test pytest lint format types test-lowest lock clean
# A recipe that fails half-way must not leave a file that says it is done.
.DELETE_ON_ERROR:

help: ## Show this list
	@printf 'surefoot: what you can make\n\n'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22
	@printf '\nPYTHON=/path/to/python3.11 picks an interpreter, ARGS="..." adds arguments to demo and pytest.\n'

install: $(VENV)/.installed ## Make .venv with the library and its pinned dependencies

install-dev: $(VENV)/.installed-dev ## The same, with the tools for tests and checks

demo: $(VENV)/.installed ## Train SCOPIL and SAC on the marble maze and write runs/demo/report.html
	@$(BIN)/surefoot demo $(ARGS)

test: $(VENV)/.installed-dev ## Check style and types and run the tests: what every change must pass
	@failed=0; for goal in lint types pytest; do $(MAKE) --no-print-directory $$goal || failed=1; done; exit $$failed

pytest: $(VENV)/.installed-dev ## Run the tests alone
	@$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.installed-dev ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.installed-dev ## Mend style where it can be mended by itself
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/.installed-dev ## Check types
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

# Old releases warn of one another; here only failures count.
test-lowest: requirements/lowest.txt $(VENV)/.python ## Run the tests with the oldest dependencies that are allowed
	@$(MAKE) --no-print-directory VENV=.venv-lowest DEV_REQUIREMENTS=requirements/lowest.txt ARGS="-W default $(ARGS)" pytest

lock: ## Pin the newest allowed dependencies again, with hashes (needs uv)
	@command -v $(UV) >/dev/null || { echo "error: 'make lock' needs uv (pip install uv)." >&2; exit 2; }
	$(LOCK) requirements/build.in pyproject.toml -o requirements/core.txt
	$(LOCK) requirements/build.in pyproject.toml --extra dev -c requirements/core.txt -o requirements/dev.txt
	$(LOCK) --resolution lowest-direct requirements/build.in pyproject.toml --extra dev -o requirements/lowest.txt

clean: ## Remove the environment, caches and what was built; keep runs/
	rm -rf $(VENV) .venv-lowest build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# How it is done ------------------------------------------------------------------------------------

UV   ?= uv
# One version of each package for every platform and Python; no address of any registry is written.
LOCK := $(UV) pip compile --quiet --upgrade --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

DEV_REQUIREMENTS ?= requirements/dev.txt

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: surefoot needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { \
	  echo "error: '$(PYTHON)' has no pip. Install it (Debian: apt-get install python3-pip)." >&2; exit 2; }
	$(PYTHON) -m venv --without-pip --clear $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python requirements/core.txt pyproject.toml
	$(PIP) install --quiet --require-hashes --only-binary :all: -r requirements/core.txt
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.python $(DEV_REQUIREMENTS) pyproject.toml
	$(PIP) install --quiet --require-hashes --only-binary :all: -r $(DEV_REQUIREMENTS)
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.installed
