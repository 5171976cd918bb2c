# The same checks as .ci/run, in an environment that is already there: make check PYTHON=python3.12
PYTHON ?= .venv/bin/python
BIN = $(dir $(PYTHON))

.PHONY: help check format style types floors test coverage pyright dist clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: style types floors test ## everything a change has to pass

format: ## write the code as the formatter wants it
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

style: ## formatting and lint
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types: ## mypy, strict
	$(PYTHON) -m mypy

floors: ## who may import whom
	$(BIN)lint-imports --no-logo

test: ## the tests, on a private server that they start
	$(PYTHON) -m pytest -n 3

coverage: ## the tests, with the lines they miss
	$(PYTHON) -m pytest --cov --cov-report=term-missing

pyright: ## the second type checker (needs Node.js, or fetches it)
	$(PYTHON) -m pyright

dist: ## wheel and source distribution in dist/
	$(PYTHON) -m build

clean: ## what the commands above leave behind
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.*
