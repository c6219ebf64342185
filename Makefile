# make demo, make test: all that a fresh machine needs is Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.PHONY: demo docs test test-full test-torch test-tensorflow lint bench bench-full
.DELETE_ON_ERROR:

demo: .venv/.demo
	rm -rf runs/digits
	$(BIN)/milepost run configs/digits.yaml

test: .venv/.dev
	$(BIN)/python -m pytest -m "not slow"

test-full: .venv/.dev
	$(BIN)/python -m pytest

# With one framework alone, in an environment of its own.
test-torch test-tensorflow: test-%: .venv-%/.installed
	.venv-$*/bin/python -m pytest -m "not slow"

.venv-%/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet -c constraints.txt -e ".[test-$*]"
	@touch $@

# The documentation, in site/.
docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# About ten minutes on two cores, and hours with the sizes of the aims.
bench: .venv/.bench
	$(BIN)/python -m benchmarks.run

bench-full: .venv/.bench
	$(BIN)/python -m benchmarks.run --full

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Each stamp is newer than what it was installed from.
.venv/.demo .venv/.dev: .venv/.%: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[$*]"
	@touch $@

# The peers come beside the versions that are tested, which stay.
.venv/.bench: benchmarks/peers.txt benchmarks/peers_no_deps.txt .venv/.dev
	$(INSTALL) -r benchmarks/peers.txt
	$(INSTALL) --no-deps -r benchmarks/peers_no_deps.txt
	@touch $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
