# Everything runs in .venv, which is made here from Python 3.11+ and uv.lock, and nothing else.

PYTHON ?= python3
BIN    := .venv/bin
# The uv that makes the environment is the one that uv.lock puts into it.
UV     := $(shell sed -n '/^name = "uv"$$/{n;s/^version = "\(.*\)"$$/\1/p;}' uv.lock)

# Python keeps what it compiles, whatever the shell says: compiling is half of what it costs to start
# `homeport`, and the tests start it hundreds of times.
export PYTHONDONTWRITEBYTECODE :=

# How long `make soak` walks before the floods, which take more than an hour; a seed to repeat is SOAK_SEED.
SOAK_S ?= 300

.DEFAULT_GOAL := help
.PHONY: help run test pythons soak fmt docs

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

run: .venv/synced ## set everything up and start a gateway for trying out (ARGS="--data DIR")
	@$(BIN)/homeport dev $(ARGS)

test: .venv/synced ## format, lint, types, import layers, documentation, all tests, spec coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory docs
	$(BIN)/pytest -n auto --dist worksteal
	$(BIN)/python -m tests.spec_coverage

pythons: .venv/synced ## the gateway's and the SDK's tests on the newest other Python, the SDK's on the rest
	$(BIN)/python -m tests.pythons

soak: .venv/synced ## walks through the model of inboxes by fresh seeds, for SOAK_S seconds, then all floods
	SOAK_S=$(SOAK_S) SOAK_SEED=$(SOAK_SEED) $(BIN)/pytest -x -s tests/gateway/store/soak.py tests/system/soak.py

docs: .venv/synced ## render the documentation to build/docs/; a broken link is an error
	$(BIN)/sphinx-build -q -W --keep-going -c docs . build/docs
	@echo "build/docs/docs/index.html"

fmt: .venv/synced ## format, and correct what the linter can correct
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/synced: pyproject.toml gateway/pyproject.toml protocol/pyproject.toml uv.lock
	@if [ ! -x $(BIN)/uv ]; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Homeport needs Python 3.11 or newer as '$(PYTHON)'." \
	         "If you have it under another name: make PYTHON=python3.12" >&2; exit 1; }; \
	  $(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
	    echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; }; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV); \
	fi
	@UV_PROJECT_ENVIRONMENT=.venv $(BIN)/uv sync --frozen --quiet
	@touch $@
