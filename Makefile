# `make demo` and `make test` set up .venv the first time, and again only when constraints.txt or pyproject.toml changed.

PYTHON ?= python3
EXTRAS ?= dev
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint clean

demo: .venv/.installed
	$(BIN)/decentralized run configs/demo.toml

test: lint
	$(BIN)/python -m pytest -n 3 --dist worksteal

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# torch and the build tools come first; the package is then installed without a build environment of its own, whose
# packages constraints.txt would not pin.
.venv/.installed: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo 'Python 3.10 or later is needed: make PYTHON=/path/to/python3.10'; exit 1; }
	@echo 'setting up .venv, once, takes a few minutes'
	@$(PYTHON) -m venv .venv
	@$(PIP) torch
	@$(PIP) editables hatchling
	@$(PIP) --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@

# Runs and data sets are yours: they stay.
clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
