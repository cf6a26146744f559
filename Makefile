# make run: the packaged default. make test: lint, the suite, the documentation, and evalkit's own gate.
# make docs: the documentation as a site, in site/. Each sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Of the hundreds of processes that the tests start, each would compile evalkit's files anew.
test: export PYTHONDONTWRITEBYTECODE =

.PHONY: run test lint gate docs clean

run: $(VENV)/installed
	$(VENV)/bin/python -m evalkit $(ARGS)

test: $(VENV)/installed-test lint docs
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(MAKE) gate

# What evalkit asks of its users: the packaged reranker against the committed baseline.
gate: $(VENV)/installed
	$(VENV)/bin/python -m evalkit experiment=ci

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

# Strict: a broken link, or a page that the navigation leaves out, fails.
docs: $(VENV)/installed-docs
	$(VENV)/bin/python -m mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing evalkit into $(VENV): some minutes the first time"
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(PIP) --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
