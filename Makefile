# `make demo` runs the whole system on the embedded simulated corpus; `make test` runs the tests.
# Both set up a virtual environment in .venv first. CUDA or TPU: `make install EXTRAS=test,cuda13`.

PYTHON ?= python3
EXTRAS ?= test
PY = .venv/bin/python
RUNS ?= runs/demo
SEED ?= 0

# glibc hands big temporaries back to the system at every step, and those of all threads but the first in any case;
# keeping them, up to 16 GiB and in one arena, makes training on a CPU 20–40 % faster.
export MALLOC_ARENA_MAX = 1
export MALLOC_MMAP_THRESHOLD_ = 17179869184
export MALLOC_TRIM_THRESHOLD_ = 17179869184
export MALLOC_TOP_PAD_ = 268435456

.PHONY: install demo test fast-test benchmarks clean

install: .venv/installed

.venv/installed: setup.cfg pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $$($(PYTHON) --version) found, Python 3.11 or newer expected; set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --constraint requirements.lock --editable '.[$(EXTRAS)]'
	touch $@

demo: install
	$(PY) -m data_prep.simulate --out=data/simulated_recordings
	$(PY) -m data_prep.prepare --corpus=recola --source=data/simulated_recordings --out=data/simulated
	$(PY) -m e2e_affect.main --config=configs/speech.py:demo --workdir=$(RUNS)/speech --config.seed=$(SEED)
	$(PY) -m e2e_affect.main --config=configs/visual.py:demo --workdir=$(RUNS)/visual --config.seed=$(SEED)
	$(PY) -m e2e_affect.main --config=configs/fused.py:demo --workdir=$(RUNS)/fused --config.seed=$(SEED) \
	  --config.init_from.speech=$(RUNS)/speech --config.init_from.visual=$(RUNS)/visual
	$(PY) -m e2e_affect.report $(RUNS)/speech $(RUNS)/visual $(RUNS)/fused --out=$(RUNS)/report.html

fast-test: install
	$(PY) -m pytest -q -m 'not slow' -n 2

test: fast-test
	$(PY) -m pytest -q -m slow -n 2

benchmarks: install
	$(PY) -m benchmarks.all --out=benchmarks/results

clean:
	rm -rf .venv build *.egg-info
