# Two commands do everything on a machine with Python, git and make:
#   make book   builds the site from the notebooks and says where to look
#   make test   everything that must hold
# The environment lives in .venv, the site in _build/html.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SITE := _build/html
PORT ?= 8000
MODULES := differences symbolic graph layer activations losses neurons network digits \
  descent optimizers initialization regularization normalization data training \
  convolution recurrence attention policy \
  exercises figures
JUDGES := book/report/node_modules
READY := $(VENV)/.ready
export PYTHONPATH := book
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help book test package-test lab serve pdf epub zip clean lock export execute lint bench site-report linkcheck

help:
	@sed -n '1,5p' Makefile

$(READY): requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	touch $@

# The package itself, again whenever its metadata changes.
$(VENV)/.installed: $(READY) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# What the site needs from npm, with the Node that came from PyPI.
book/node_modules/.package-lock.json: book/package-lock.json $(READY)
	cd book && npm ci --silent
	touch $@

# What judges the site, apart from what builds it; Lighthouse is for the report alone.
$(JUDGES)/.judges: book/report/package-lock.json $(READY)
	cd book/report && npm ci --silent --omit=dev
	touch $@

$(JUDGES)/.lighthouse: book/report/package-lock.json $(READY)
	cd book/report && npm ci --silent
	touch $(JUDGES)/.judges $@

# nbdev also writes an index for its own documentation pages, which we do not use,
# and writes pyproject.toml as it was: that is no reason to install again.
$(VENV)/.exported: $(wildcard nbs/*.ipynb) $(VENV)/.installed
	nbdev-export
	rm -f backprop_lit/_modidx.py
	touch $(VENV)/.installed $@

export: $(VENV)/.exported

execute: export
	python book/execute.py

book: execute book/node_modules/.package-lock.json
	@python book/build.py

test: book lint $(JUDGES)/.judges
	pytest -q tests

# The package alone, in whatever environment BIN names (CI tries several).
package-test:
	$(BIN)/python -m pytest -q $(addprefix tests/test_,$(addsuffix .py,$(MODULES)))

lint: $(VENV)/.installed
	ruff check --quiet .
	mypy --no-error-summary

lab: $(VENV)/.installed
	jupyter lab --notebook-dir=nbs

# To take along: each says what it made, or what this machine lacks for it.
pdf epub zip: book
	@python book/paper.py $@

serve: book
	python -m http.server --bind 127.0.0.1 --directory $(SITE) $(PORT)

# What every page weighs, and what is found on it; Lighthouse for three of them.
site-report: book $(JUDGES)/.lighthouse
	python book/report.py

# Every external link, over the network.
linkcheck: book
	python book/linkcheck.py

bench: $(VENV)/.installed
	for script in bench/bench_*.py; do python $$script || exit 1; done

# Resolve anew, for every supported Python, with hashes and without addresses.
lock:
	$(PYTHON) -m venv _build/lock
	_build/lock/bin/python -m pip install --quiet uv
	_build/lock/bin/uv lock --quiet --upgrade
	_build/lock/bin/uv export --quiet --format requirements-txt --no-emit-project \
	  --no-header --no-annotate --all-extras -o requirements.lock
	rm -rf uv.lock _build/lock

clean:
	rm -rf _build build dist *.egg-info book/node_modules $(JUDGES)
