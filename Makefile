# make demo   everything on a drawn sample, real Caffe included: prepare -> train -> report (under 5 minutes)
# make test   all tests, linters and contracts          make fast   the quick tier only
# make setup  .venv with fer                             make bench CSV=fer2013.csv  the benchmarks, on the CPU
# make speedrun CSV=fer2013.csv   the README's best row from the CSV, under 2 hours on two cores
PYTHON ?= python3
# The versions that CI tests; `make test CONSTRAINTS=` takes the newest instead.
CONSTRAINTS ?= .ci/constraints.txt
# PyTorch's build for the CPU (190 MB) where there is no NVIDIA driver: PyPI's has CUDA in it, some gigabytes.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi 2>/dev/null),,https://download.pytorch.org/whl/cpu)
CSV ?= fer2013.csv
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup test fast lint demo bench speedrun clean

setup: $(VENV)/.fer

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fer needs Python 3.11 or newer; name one: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv $(VENV)

# Every user's packages; the tests want the developer's tools and PyTorch besides.
LOCKED := $(addprefix --constraint ,$(CONSTRAINTS))
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(LOCKED)

$(VENV)/.fer: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
	$(PIP) --editable .
	@touch $@

$(VENV)/.fer-dev: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
ifneq ($(TORCH_INDEX),)
	$(PIP) --no-deps --retries 1 --index-url $(TORCH_INDEX) 'torch>=2.6' || echo "no PyTorch from $(TORCH_INDEX): pip looks where it always does"
endif
	$(PIP) --editable '.[dev,pytorch]'
	@touch $@

# A worker for each core; one takes a whole file, as its tests share what they make.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST)

fast: $(VENV)/.fer-dev
	$(PYTEST) -m "not full"

lint: $(VENV)/.fer-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: setup
	$(BIN)/python scripts/make_sample.py data/sample.csv
	$(BIN)/fer prepare data/sample.csv --out data/sample --title "drawn sample, not FER2013"
	rm -rf runs/demo
	$(BIN)/fer train --net lenet --solver s2 --data data/sample --max-iter 600 --seed 1 --name demo
	$(BIN)/fer report runs/demo

bench: $(VENV)/.fer-dev
	$(BIN)/python scripts/bench_prepare.py $(CSV)
	test -d data/fer2013 || $(BIN)/fer prepare $(CSV)
	$(BIN)/python scripts/bench_engines.py

speedrun: $(VENV)/.fer-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/speedrun.sh $(CSV)

clean:
	rm -rf $(VENV) build dist *.egg-info
