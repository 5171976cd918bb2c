# The same checks as .ci/run, in an existing environment: make check PYTHON=python3.12
PYTHON ?= .venv/bin/python
BIN = $(dir $(PYTHON))

.PHONY: help check format style types floors test coverage pyright dist clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

check: style types floors test ## all checks that a change has to pass

format: ## format the code
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

style: ## check formatting and lint rules
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types: ## check the types with mypy --strict
	$(PYTHON) -m mypy

floors: ## check that files import only from the layers below
	$(BIN)lint-imports --no-logo

test: ## run the tests, which start private servers
	$(PYTHON) -m pytest -n 4

coverage: ## run the tests and list the lines that they do not cover
	$(PYTHON) -m pytest --cov --cov-report=term-missing

pyright: ## check the types with pyright (needs Node.js, or downloads it)
	$(PYTHON) -m pyright --pythonpath $(PYTHON)

dist: ## build the wheel and the source distribution in dist/
	$(PYTHON) -m build

clean: ## remove the files that the commands above create
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .coverage.*
