# Every target works from a fresh clone: the first one that runs makes the virtual environment.
PYTHON ?= python3
BIN := .venv/bin
# Hundreds of short processes: where no byte code is kept, each compiles the package again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup report test collected thorough quick coverage lowest newest lint docs bench clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip # Debian's takes twice as long
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[serve,dev]'
	touch $@

report: setup
	$(BIN)/vpanalysis report --source sample

test: setup
	$(MAKE) --jobs 3 --output-sync lint docs collected
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not thorough" --nbval --nbval-current-env tests notebooks

# Byte code is made once, while linters run, instead of by each worker; what fails here fails there as well.
collected: setup
	-$(BIN)/python -m pytest --collect-only --nbval --nbval-current-env tests notebooks >/dev/null

# The cases beyond those of make test, of which it tries some: CI runs both at every change.
thorough: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m thorough

quick: setup
	$(BIN)/python -m pytest -n 2 -m "not slow and not long and not thorough"

# What tests reach without starting a process of their own.
coverage: setup
	$(BIN)/python -m pytest -n 2 -m "not slow and not thorough" --cov --cov-report=term:skip-covered

# The lowest versions that pyproject.toml names of what the package needs, and the newest that there are of everything.
lowest:
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python --resolution lowest-direct -e '.[serve,cluster]'
	build/lowest/bin/uv pip install --quiet --python build/lowest/bin/python \
	  axe-playwright-python hypothesis playwright pytest pytest-xdist ruamel.yaml schemathesis
	build/lowest/bin/python -m pytest -n 2 -m "not slow" -W default

newest:
	$(PYTHON) -m venv build/newest
	build/newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -e '.[serve,dev]'
	build/newest/bin/python -m pytest -n 2 -m "not slow" -W default

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict --site-dir build/site

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/results.py

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
