# Each target does its own set-up. Needs Python 3.11 with venv; set PYTHON to name it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-all validation lint format types imports bench clean

demo: $(VENV)/run.stamp
	@$(BIN)/python -c "from mmdtwin.sim.anatomy import fetch_ct; fetch_ct()" 2>/dev/null || echo "The full CT could not be fetched; the sample that ships with the package is used."
	$(BIN)/mmdtwin navigate --seed $(SEED) --out runs/demo

# Compiled kernels are cached beside their files; a cache does not see a change in another file.
KERNELS := $(shell grep -rlE "numba|njit" --include=*.py sim control synth mmdtwin)

$(VENV)/kernels.stamp: $(VENV)/dev.stamp $(KERNELS)
	find sim control synth mmdtwin \( -name "*.nbi" -o -name "*.nbc" \) -delete
	touch $@

test: $(VENV)/kernels.stamp
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/kernels.stamp
	$(BIN)/python -m pytest -n 2

validation: $(VENV)/kernels.stamp
	$(BIN)/python -m pytest tests -n 2 -m "not slow" --validation docs/validation

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

imports: $(VENV)/dev.stamp
	$(BIN)/lint-imports

bench: $(VENV)/run.stamp
	$(BIN)/python -m benchmarks --json runs/bench.json

$(VENV)/python.stamp:
	@test -n "$(PYTHON)" || { echo "make: no python3 found; install Python 3.11 (Debian, Ubuntu: apt install python3.11-venv)"; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make: $(PYTHON) is not Python 3.11; set PYTHON=/path/to/python3.11"; exit 2; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "make: Python has no venv module; apt install python3.11-venv"; exit 2; }
	"$(PYTHON)" -m venv $(VENV)
	touch $@

$(VENV)/run.stamp: $(VENV)/python.stamp pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info runs
