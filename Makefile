# Everything runs in a virtual environment of its own: nothing but python3.11, pip and make is needed.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INTEROP := .venv-interop
SLURM := .venv-slurm

.PHONY: demo test test-slow test-interop test-slurm chaos fuzz lint typecheck format bench schemas clean

demo: $(READY)
	$(BIN)/hcs demo demo $(DEMO)

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" -n auto $(TESTS)

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow $(TESTS)

# Opens the results with other tools, in an environment of its own.
test-interop: $(INTEROP)/.ready
	$(INTEROP)/bin/python -m pytest $(TESTS) tests/interop

# Runs on a real Slurm that it brings up (Debian 12, root), in an environment of its own: Snakemake's Slurm plugin
# disturbs Snakemake where there is no Slurm. Minutes.
test-slurm: $(SLURM)/.ready
	$(SLURM)/bin/python -m pytest $(TESTS) tests/slurm

# Kills real runs at random moments (MOMENTS, SEED), and asks whether anything was lost.
chaos: $(READY)
	$(BIN)/python tests/chaos/kill_harness.py --moments $(or $(MOMENTS),120) --seed $(or $(SEED),1) --jobs 2

# Thousands of damaged and hostile files for everything that is read.
fuzz: $(READY)
	HCS_FUZZ=$(or $(FACTOR),20) $(BIN)/python -m pytest -n auto $(TESTS) tests/fuzz

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
	$(BIN)/python benchmarks/storing.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/memory.py --markdown

schemas: $(READY)
	$(BIN)/hcs schemas config/schemas

# Debian's python3 may come without ensurepip; then pip, which is there, fills the environment.
%/.ready: pyproject.toml
	python3 -m venv $* 2>/dev/null || { python3 -m venv --clear --without-pip $* \
		&& python3 -m pip --python $*/bin/python install --quiet pip; }
	$*/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$(EXTRA)]"
	touch $@

$(READY): EXTRA := dev
$(INTEROP)/.ready: EXTRA := interop
$(SLURM)/.ready: EXTRA := test,slurm

clean:
	rm -rf $(VENV) $(INTEROP) $(SLURM) demo
