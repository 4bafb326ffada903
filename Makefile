# Every target sets up what it needs in .venv, once per change of pyproject.toml or constraints.txt.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
# Another interpreter: make test PYTHON=/path/to/python3
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
JOBS ?= auto
DEMO_ARGS ?=
BENCH_ARGS ?=
say = @printf '\n\033[1m== %s\033[0m\n' $(1)

.PHONY: help demo demo-detection demo-detection3d test test-slow format check audit docs bench bench-errors bench-learning bench-server \
	build clean

help: ## this list
	@echo 'MLdebugger. Usage: make <target>'
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  %-17s %s\n' "$$name" "$$text"; done

demo: $(VENV)/.demo ## the main job on real data: trace, evaluate, query, five active-learning rounds (about 3 minutes)
	$(call say,'Running the demo')
	$(BIN)/mldebugger demo $(DEMO_ARGS)

demo-detection: $(VENV)/.demo ## the same for a detector, box by box: trace, evaluate, query, flags (about 2 minutes)
	$(call say,'Running the demo of object detection')
	$(BIN)/mldebugger demo detection $(DEMO_ARGS)

demo-detection3d: $(VENV)/.demo ## the same for a detector of LiDAR frames, with pictures from above (about 3 minutes)
	$(call say,'Running the demo of object detection in 3D')
	$(BIN)/mldebugger demo detection3d $(DEMO_ARGS)

test: $(VENV)/.dev ## all tests but the slow ones, with branch coverage
	$(call say,'Running the tests')
	rm -f .coverage .coverage.*
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --cov --cov-report= --durations 15 $(ARGS)
	$(call say,'Branch coverage')
	$(BIN)/coverage report --fail-under 95
	$(BIN)/coverage report --fail-under 100 --include '*/analysis/*,*/selection/*'

test-slow: $(VENV)/.dev ## the slow tests: crashes, many processes, the built wheel
	$(call say,'Running the slow tests')
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow --timeout 900 --durations 15 $(ARGS)

format: $(VENV)/.dev ## format the code and repair what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(VENV)/.dev ## lint, types, layers, budgets, known vulnerabilities of what we depend on
	$(call say,'ruff')
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(call say,'mypy')
	$(BIN)/mypy
	$(call say,'import-linter')
	$(BIN)/lint-imports
	$(call say,'Budgets')
	$(BIN)/python -m pytest tests/quality -q
	$(call say,'Known vulnerabilities')
	$(BIN)/python scripts/audit.py

audit: $(VENV)/.dev ## the same look-up of known vulnerabilities, but failing where the list cannot be reached
	$(BIN)/python scripts/audit.py --require

docs: $(VENV)/.dev ## build the documentation site into site/, warnings are errors
	$(call say,'Building the documentation')
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean
	@echo 'Open site/index.html'

bench: $(VENV)/.dev ## speed and memory: overhead, scoring, queries over 1 M and 10 M rows, tracing 1 M rows, fits (long)
	$(call say,'Running the speed benchmarks')
	for file in benchmarks/bench_*.py; do echo "-- $$file"; $(BIN)/python "$$file"; done
	$(BIN)/python -m benchmarks.query
	$(BIN)/python -m benchmarks.store_memory
	$(BIN)/python benchmarks/fit_scaling.py --million

bench-errors: $(VENV)/.dev ## error estimation against every published score, on all pairs (long)
	$(call say,'Running the error detection benchmark')
	$(BIN)/python -m benchmarks.error_detection --make $(BENCH_ARGS)

bench-learning: $(VENV)/.dev ## active learning: our strategies against random, entropy, margin, k-centre, BADGE (long)
	$(call say,'Running the active-learning benchmark')
	$(BIN)/python -m benchmarks.active_learning $(BENCH_ARGS)

bench-server: $(VENV)/.dev ## the server: ingest, memory, faults, query latency over HTTP (long)
	$(call say,'Running the server benchmarks')
	$(BIN)/python -m benchmarks.server $(BENCH_ARGS)

build: $(VENV)/.dev ## build the wheel and the source archive into dist/
	$(BIN)/python -m build

clean: ## remove everything that make made
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage .coverage.*

$(BIN)/python:
	$(call say,'Making the virtual environment $(VENV)')
	@[ -n "$(PYTHON)" ] || { echo 'Python 3.11 or newer was not found. Install it (Debian, Ubuntu: apt install python3 python3-venv),'; \
		echo 'or name one: make PYTHON=/path/to/python3 <target>'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. Debian, Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# $@ is .venv/.demo or .venv/.dev: the extra of that name. "dev" contains "demo".
$(VENV)/.demo $(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call say,'Installing ml-debugger and what "$(subst .,,$(notdir $@))" needs (PyTorch is large: a few minutes the first time)')
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(subst .,,$(notdir $@))]'
	@touch $@ $(if $(findstring .dev,$@),$(VENV)/.demo)
