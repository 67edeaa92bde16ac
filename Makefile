# `make demo` runs the whole system on the embedded simulated corpus; `make test` runs the tests, `make lint` the checks of
# style, types and layers, `make docs` builds the site, `make wheel` the wheel. Each sets up a virtual environment in .venv
# first.
# CUDA or TPU: `make install EXTRAS=test,cuda13`. What EXTRAS names is added to what is there.
#
# EXTRAS=test,dev adds PyTorch, and runs the comparisons with it that skip otherwise. requirements.lock pins its version;
# pip takes the CPU build of that version (0.8 GB on disk) where PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL leads to one, and
# PyPI's build elsewhere, which brings CUDA's libraries on Linux (several GB). Either will do.
#
# EXTRAS=test,features adds openSMILE, for the acoustic features of the paper's rivals. Its licence allows research only.

PYTHON ?= python3
EXTRAS ?= test
PY = .venv/bin/python
RUNS ?= runs/demo
SEED ?= 0
KILLS ?= 50
MINUTES ?= 30

.PHONY: install demo test fast-test faults long kills fuzz soak lint docs wheel benchmarks clean

install: .venv/installed.$(EXTRAS)

.venv/installed.%: setup.cfg pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $$($(PYTHON) --version) found, Python 3.11 or newer expected; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint requirements.lock --editable '.[$*]'
	@case ',$*,' in *,features,*) echo 'openSMILE is there, too: its licence allows research, no product (docs/features.md)';; esac
	touch $@

demo: install
	$(PY) -m data_prep.simulate --out=data/simulated_recordings
	$(PY) -m data_prep.prepare --corpus=recola --source=data/simulated_recordings --out=data/simulated
	$(PY) -m e2e_affect.main --config=configs/speech.py:demo --workdir=$(RUNS)/speech --config.seed=$(SEED)
	$(PY) -m e2e_affect.main --config=configs/visual.py:demo --workdir=$(RUNS)/visual --config.seed=$(SEED)
	$(PY) -m e2e_affect.main --config=configs/fused.py:demo --workdir=$(RUNS)/fused --config.seed=$(SEED) \
	  --config.init_from.speech=$(RUNS)/speech --config.init_from.visual=$(RUNS)/visual
	$(PY) -m e2e_affect.report $(RUNS)/speech $(RUNS)/visual $(RUNS)/fused --out=$(RUNS)/report.html

# Most of the time goes into compiling small networks; the compiler's expensive passes add a third.
fast-test: export XLA_FLAGS := $(XLA_FLAGS) --xla_backend_optimization_level=1
fast-test: install
	$(PY) -m pytest -q -m 'not slow and not long' -n 2 --dist worksteal

test: fast-test
	$(PY) -m pytest -q -m 'slow and not long' -n 2 --dist worksteal

# Each row of the fault table by a real fault, with its result and time.
faults: install
	$(PY) -m pytest -q tests/faults -p tests.faults.table -n 2 --dist worksteal

# What else takes longer than CI has.
long: install
	$(PY) -m pytest -q tests --ignore=tests/faults -m long -n 2 --dist worksteal

# KILLS seeded SIGKILLs over trainings, and as many over preparations.
kills: install
	KILLS=$(KILLS) $(PY) -m pytest -q tests/faults -k row_01

# Files of all kinds with faults, thousands of each, and fixed seeds.
fuzz: .venv/installed.test,dev
	$(PY) -m tests.fuzz

# Half an hour of training, prediction and streaming side by side; the picture of their memory is build/soak.png.
soak: install
	$(PY) -m tests.soak --minutes=$(MINUTES)

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

# Strict: a dead link or a page that the navigation lacks is an error. The site is build/docs; it needs no network.
docs: .venv/installed.docs
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict

# dist/e2e_affect-VERSION-py3-none-any.whl. build/lib is of an earlier one: what was removed since would come along.
wheel: install
	rm -rf build/lib
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir=dist .

# Every speed, and the table of docs/speed.md from it: on an idle machine, an hour and a half.
benchmarks: .venv/installed.test,dev
	$(PY) -m benchmarks.all --out=benchmarks/results
	$(PY) -m benchmarks.report --out=benchmarks/results --page=docs/speed.md

clean:
	rm -rf .venv build dist *.egg-info
