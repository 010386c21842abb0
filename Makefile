# Needs Python >= 3.11 and make; all else is fetched once by tools/setup, which does nothing while nothing changed.
PYTHON ?= python3
# One more test worker than there are cores on the smallest machine that we test on: a fifth of the time they wait, for engines, time-outs and disks.
WORKERS ?= 3

BIN := $(CURDIR)/.venv/bin
OUTSIDE_PATH := $(PATH)
# What `make` starts finds the venv's python, dr and pulumi first; set-up itself must not.
export PATH := $(BIN):$(PATH)
NO_PYTHON = there is no $(PYTHON): install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3
SETUP = @PATH="$(OUTSIDE_PATH)"; command -v $(PYTHON) >/dev/null || { echo "$(NO_PYTHON)" >&2; exit 1; }; \
	$(PYTHON) -m tools.setup
TEST = $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: help setup setup-python demo lab-demo test test-fast test-engine test-lab coverage mutants soak lint format bench bench-lab lab lab-down clean

help:
	@echo "make demo         watch a failover, a failback and a drill with a real 'pulumi up'"
	@echo "make lab-demo     the same on real sites: ZFS, iSCSI, QEMU guests (Debian, as root; KEEP=1 leaves them up)"
	@echo "make test         the test suite (test-fast: without the Pulumi engine; test-engine: with it, and the long cases; LONG=1: only those)"
	@echo "make coverage     how much of the reconciler the tests run; make mutants: whether they notice when a decision changes"
	@echo "make test-lab     the drivers for real machines, and their failures, in a lab of its own (Debian, as root; KEEP=1 leaves it up)"
	@echo "make soak         disasters, repairs and moves in any order, until one breaks a rule (MINUTES=20 SEED=1)"
	@echo "make lint         ruff, mypy --strict, import-linter (format: let ruff write)"
	@echo "make bench        the benchmarks (bench-lab: of the real stack, in a lab of their own; Debian, as root; KEEP=1 leaves it up)"
	@echo "make lab          two real sites on this machine: ZFS, iSCSI, libvirt, QEMU (Debian, root; lab-down: remove them)"
	@echo "make setup        what the others do first, once: .venv and the Pulumi engine"
	@echo "make clean        remove what was made in this folder (the engine's cache is outside, and stays)"

setup:
	$(SETUP) all

setup-python:
	$(SETUP) python

demo: setup
	@$(BIN)/python -m demo

# Real sites, in a lab of their own; they are taken down at the end, however it comes. KEEP=1 leaves them up.
lab-demo: setup
	@$(BIN)/python -m lab packages
	@$(BIN)/python -m demo --stage lab $(if $(KEEP),--keep)

# The limit ends a run that hangs; the suite itself takes 9 to 10 minutes on two quiet cores, longer where nothing can be kept in memory (tests/support/memory.py).
test: setup
	@$(BIN)/python -m tools.within 3000 $(TEST) -m "not long"

test-fast: setup-python
	@$(TEST) -m "not engine and not long"

test-engine: setup
	@$(TEST) -m "$(if $(LONG),long,engine or long)"

# What the decision is made of, with every branch, and the reconciler as a whole.
coverage: setup-python
	@$(BIN)/python -m tools.coverage

mutants: setup-python
	@$(BIN)/python -m tools.mutants

test-lab: setup
	@$(BIN)/python -m lab.testing

# Another seed plays other games; the same one the same games.
soak: setup-python
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),20) --seed $(or $(SEED),1)

lint: setup-python
	@$(BIN)/python -m tools.lint

format: setup-python
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	@$(BIN)/python -m bench

bench-lab: setup-python
	@$(BIN)/python -m lab packages
	@$(BIN)/python -m bench.real $(if $(KEEP),--keep)

lab: setup-python
	@$(BIN)/python -m lab packages
	@$(BIN)/python -m lab up

lab-down: setup-python
	@$(BIN)/python -m lab down

clean:
	@[ ! -d build/lab ] || { echo "build/lab holds labs that may run: python -m lab status, python -m lab down" >&2; exit 1; }
	rm -rf .venv build .dr .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dr_provider.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
