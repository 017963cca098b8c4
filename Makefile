# Everything runs in a virtual environment of its own: nothing but python3.11, pip and make is needed.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint typecheck format bench schemas clean

demo: $(READY)
	$(BIN)/hcs demo demo $(DEMO)

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" $(TESTS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(TESTS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules

typecheck: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

bench: $(READY)
	$(BIN)/python benchmarks/planning.py --rerun
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/functions.py

schemas: $(READY)
	$(BIN)/hcs schemas config/schemas

# Debian's python3 may come without ensurepip; then pip, which is there, fills the environment.
$(READY): pyproject.toml
	python3 -m venv $(VENV) 2>/dev/null || { python3 -m venv --clear --without-pip $(VENV) \
		&& python3 -m pip --python $(BIN)/python install --quiet pip; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo
