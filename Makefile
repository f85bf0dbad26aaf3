# make demo | test | lint | docs | clean. PYTHON=... picks the interpreter (3.10, 3.11 or 3.12).

VENV := .venv
BIN := $(VENV)/bin
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

# Without PYTHON=... an existing environment is kept, else the first supported python is taken.
ifndef PYTHON
PYTHON := $(shell for p in $(BIN)/python python3 python3.11 python3.12 python3.10; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
endif
STAMP := $(VENV)/.installed-$(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)
# pip refuses lava on Python >= 3.11 although it works there (see lava_bsnn/compat.py).
LAVA := $(shell grep -oE 'lava-(nc|dl)==[0-9.]+' pyproject.toml)

# Notebooks have no outputs in git; make docs shows copies that were run, by it or by make test.
NOTEBOOKS := $(patsubst %,build/%,$(wildcard notebooks/*.ipynb))

.PHONY: demo install test test-forks test-others lint docs clean

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/lava-bsnn demo

# Tests that fork run one after the other; beside them, on what the processors have left, all others.
test: $(STAMP)
	$(MAKE) --no-print-directory --jobs=2 test-forks test-others

test-forks: $(STAMP)
	$(BIN)/python -m pytest -m "lava and not nightly"

test-others: $(STAMP)
	@mkdir -p build
	nice $(BIN)/python -m pytest -n logical --dist loadfile -m "not lava and not nightly" > build/test-others.log 2>&1; \
		code=$$?; cat build/test-others.log; exit $$code

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP) $(NOTEBOOKS)
	$(BIN)/python docs/assemble.py build/site
	$(BIN)/python -m sphinx -q -E -W --keep-going -n -c docs -b html build/site build/docs

build/notebooks/%.ipynb: notebooks/%.ipynb | $(STAMP)
	$(BIN)/python tests/run_notebook.py $< $@

clean:
	rm -rf $(VENV) build dist runs

$(STAMP): pyproject.toml
	@$(PYTHON) -c '$(SUPPORTED)' || { echo "lava-bsnn needs Python 3.10, 3.11 or 3.12; use make PYTHON=python3.11" >&2; exit 2; }
	@echo "installing pinned dependencies into $(VENV) (several GB, a few minutes, once)"
	test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 11))' \
		|| $(BIN)/python -m pip install --quiet --no-deps --ignore-requires-python $(LAVA)
	touch $@
