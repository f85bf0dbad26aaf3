# make demo | lab | test | lint | docs | clean. PYTHON=... picks the interpreter; OLDEST=1 takes the oldest packages.

PYTHONS := $(if $(OLDEST),3.11,$(shell sed -nE 's/.*Python :: (3\.[0-9]+)",/\1/p' pyproject.toml))
VENV := $(if $(OLDEST),.venv-oldest,.venv)
CONSTRAINTS := $(if $(OLDEST),build/oldest.txt,.ci/constraints.txt)
BIN := $(VENV)/bin
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

# Without PYTHON=... an existing environment is kept, else the first one of pyproject's list is taken. pyenv's
# commands answer only for versions that are chosen there, so its pythons are looked for, too.
ifndef PYTHON
PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions
PYTHON := $(shell for p in $(BIN)/python \
	$(foreach v,$(PYTHONS),python$v $(wildcard $(PYENV)/$v.*/bin/python)) python3; do \
	case " $(PYTHONS) " in (*" $$($$p -c '$(VERSION)' 2>/dev/null) "*) echo $$p; break; esac; done)
endif
FOUND := $(shell $(PYTHON) -c '$(VERSION)' 2>/dev/null)
STAMP := $(VENV)/.installed-$(FOUND)
LAB := $(VENV)-lab
# pip refuses lava on Python >= 3.11 although it works there (see lava_bsnn/compat.py).
LAVA := $(shell grep -oE 'lava-(nc|dl)==[0-9.]+' pyproject.toml)

# Notebooks have no outputs in git; make docs shows copies that were run, by it or by make test.
NOTEBOOKS := $(patsubst %,build/%,$(wildcard notebooks/*.ipynb))

# Compiled modules are kept: without them each of the tests' many processes compiles torch anew, in seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo lab install test test-forks test-others lint docs clean

install: $(STAMP)

demo: $(STAMP)
	$(BIN)/lava-bsnn demo

# Jupyter has an environment of its own, and notebooks run in that of the package.
lab: $(LAB)/.installed
	$(LAB)/bin/jupyter lab notebooks

# Tests that fork run one after the other; beside them, on what the processors have left, all others (long files first).
test: $(STAMP)
	$(MAKE) --no-print-directory --jobs=2 test-forks test-others

test-forks: $(STAMP)
	$(BIN)/python -m pytest --durations=15 --durations-min=4 -m "lava and not nightly"

test-others: $(STAMP)
	@mkdir -p build
	nice $(BIN)/python -m pytest --durations=30 --durations-min=4 -n logical --dist loadfile --no-loadscope-reorder -m "not lava and not nightly" > build/test-others.log 2>&1; \
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
	rm -rf .venv .venv-oldest .venv-lab .venv-oldest-lab build dist runs

$(LAB)/.installed: $(STAMP)
	@echo "installing Jupyter into $(LAB) (250 MB, once)"
	$(BIN)/python -m venv --clear $(LAB)
	$(LAB)/bin/python -m pip install --quiet --constraint $(CONSTRAINTS) jupyterlab
	JUPYTER_PATH=$(LAB)/share/jupyter $(BIN)/python -m ipykernel install --prefix $(LAB) --name python3 --display-name lava-bsnn
	touch $@

build/oldest.txt: pyproject.toml .ci/constraints.txt
	mkdir -p $(@D)
	sed -nE 's/^ +"([a-z0-9-]+)>=([0-9.]+),.*/\1==\2/p' $< > $@
	sed 's/==.*/==/' $@ | grep -vFf - .ci/constraints.txt >> $@

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@test -n '$(filter $(PYTHONS),$(FOUND))' \
		|| { echo "lava-bsnn needs one of Python $(PYTHONS), as in make PYTHON=python$(firstword $(PYTHONS))" >&2; exit 2; }
	@echo "installing pinned dependencies into $(VENV) (several GB, a few minutes, once)"
	test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint $(CONSTRAINTS) --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --ignore-requires-python $(LAVA)
	touch $@
