# `make demo` shows everything, `make test` proves it. A Python 3.11 or 3.12 is all a machine needs.
.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast lint docs faults bench clean

PYTHON ?= python3
UV := uv==0.13.9
BIN := .venv/bin
INSTALLED := .venv/.installed

help: ## Show these lines
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r name what; do printf '  make %-10s %s\n' "$$name" "$$what"; done

install: $(INSTALLED) ## Make .venv with every pinned dependency and .venv/bin/tollbook

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' \
		|| { echo "Python 3.11 or 3.12 is needed; $(PYTHON) is not. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $@

demo: install ## Start everything, replay a working day, prove the numbers, show the dashboard (ARGS=--exit: then stop)
	$(BIN)/tollbook demo $(ARGS)

test: install ## Every test but the fault campaign, on the real parts
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not campaign" $(ARGS)

test-fast: install ## Unit and contract tests: under a minute, nothing is started
	$(BIN)/pytest tests/unit tests/contract $(ARGS)

lint: install ## Style and strict types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy superset/*.py

docs: install ## Write docs/cli.md anew from the commands' own help
	$(BIN)/python docs/cli_page.py > docs/cli.md.new && mv docs/cli.md.new docs/cli.md

faults: install ## The whole fault suite: kills, outages and losses under load; writes tests/faults/RESULTS.md
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder tests/faults --table $(ARGS)

bench: install ## Measure this system and its peers; writes benchmarks/RESULTS.md (about two hours; continues where it stopped)
	$(BIN)/python -m benchmarks $(or $(ARGS),all)

clean: ## Remove what make and the tools made here (not the ledger's state in .tollbook)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
