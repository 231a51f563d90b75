# The one door: `make run` serves a folder, `make test` runs every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable
SOURCES := davserver tests
IN_MEMORY = $(shell df -Pm /dev/shm 2>/dev/null | awk '$$4 > 999 { print $$6 }' | grep -x /dev/shm)

.PHONY: help run test test-fast test-clients test-docker test-tools docs soak fuzz bench bench-files bench-locks lint format lock clean

help: ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

run: $(INSTALLED) ## Serve ./share at http://127.0.0.1:8080/
	@mkdir -p share
	$(BIN)/davserver serve share

test: $(TESTABLE) test-tools ## Run every test, with coverage
	$(BIN)/pytest -n auto -m "not slow" --cov --cov-report=
	$(BIN)/pytest -m slow --cov --cov-append --cov-report=term:skip-covered
	$(BIN)/coverage report --include='davserver/protocol/*,davserver/storage/*' --fail-under=100

# In memory, where there is room for that: most of their time is the disk's. `make test` has them on the disk.
test-fast: $(TESTABLE) ## Run the tests that take no time
	$(if $(IN_MEMORY),TMPDIR=/dev/shm) $(BIN)/pytest -n auto -m "not slow" -o tmp_path_retention_policy=failed

test-clients: $(TESTABLE) ## Run the tests that drive real clients, those that are installed
	$(BIN)/pytest tests/clients

test-docker: $(TESTABLE) ## Build the image, and test it with whatever Docker engine there is
	$(BIN)/pytest tests/docker

docs: $(TESTABLE) ## Write what is generated in docs/
	$(BIN)/python tests/reference.py
	$(BIN)/python tests/testing_page.py

soak: $(TESTABLE) ## Load for SOAK_SECONDS (3600), 300 rounds of kills, 100 power cuts
	SOAK_SECONDS=$(or $(SOAK_SECONDS),3600) $(BIN)/pytest -rP tests/faults/test_load.py
	DEATH_ROUNDS=300 POWER_ROUNDS=100 $(BIN)/pytest -rP tests/faults/test_death.py tests/faults/test_power_cut.py

fuzz: $(TESTABLE) ## Fuzz each parser for FUZZ_SECONDS (300)
	for target in $$($(BIN)/python -c 'import sys; sys.path.insert(0, "tests/fuzz"); from targets import TARGETS; print(*TARGETS)'); \
		do $(BIN)/python tests/fuzz/run.py $$target -max_total_time=$(or $(FUZZ_SECONDS),300) || exit; done

bench-files: $(TESTABLE) ## Measure large folders against Apache and stock WsgiDAV, for docs/performance.md; and without HTTP
	$(BIN)/python tests/bench/folders.py
	$(BIN)/python tests/bench/files.py
bench-locks: $(TESTABLE) ## Measure checks, LOCK and UNLOCK, and 100,000 locks; write it into docs/performance.md
	$(BIN)/python tests/bench/locks.py
bench: $(TESTABLE) ## Measure against other servers, and write docs/performance.md
	$(if $(BENCH_PYTHON),BENCH_PYTHON=$(BENCH_PYTHON)) $(BIN)/python tests/bench/run.py

# Programs that some tests drive. Without them those tests are skipped, and say so.
test-tools:
	@missing=; for tool in litmus cadaver curl; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then \
		sudo -n apt-get update -qq && sudo -n DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	fi; \
	for tool in litmus cadaver curl; do command -v $$tool >/dev/null || { \
		echo "*******************************************************************"; \
		echo "* NOT INSTALLED: $$tool. The tests that need it will be SKIPPED."; \
		echo "* Debian, Ubuntu:  sudo apt-get install litmus cadaver curl"; \
		echo "*******************************************************************"; }; done

lint: $(TESTABLE) ## Check style and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(TESTABLE) ## Bring the code into its form
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

lock: $(TESTABLE) ## Renew requirements.lock from what pyproject.toml allows today
	$(BIN)/pip install --quiet --upgrade --upgrade-strategy eager -e '.[test]'
	{ sed -n '/^#/p' requirements.lock; $(BIN)/pip freeze --exclude-editable --exclude davserver; } > requirements.new
	mv requirements.new requirements.lock

clean: ## Remove what was made here, except ./share
	rm -rf $(VENV) build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "davserver needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml requirements.lock $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e .
	@touch $@

$(TESTABLE): pyproject.toml requirements.lock $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[test]'
	@touch $@ $(INSTALLED)
