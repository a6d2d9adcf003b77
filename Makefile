# make demo   everything on a drawn sample, real Caffe included: prepare -> train -> report (under 5 minutes)
# make test   all tests, linters and contracts          make fast   the quick tier only
# make setup  .venv with fer                             make bench CSV=fer2013.csv  the benchmarks, on the CPU
# make test-exports   every form of fer export --format proved by its own runtime; CI proves those of small tools
# make caffe-test SOURCE=DIR   real Caffe built from its sources, its own unit tests, and agreement with it (20 minutes)
# make lock   the locked versions anew, as pyproject.toml and the files that there are allow (UPGRADE=--upgrade: newer)
# make speedrun CSV=fer2013.csv   VGG8's row of the README from the CSV, under 2 hours on two cores
PYTHON ?= python3
# The versions that CI tests, each file with its hash; `make test CONSTRAINTS=` takes the newest instead.
CONSTRAINTS ?= .ci/requirements-dev.txt
# PyTorch's build for the CPU (190 MB) where there is no NVIDIA driver: PyPI's has CUDA in it, some gigabytes.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi 2>/dev/null),,https://download.pytorch.org/whl/cpu)
CSV ?= fer2013.csv
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup test fast test-exports lint lock demo bench speedrun caffe-test clean

setup: $(VENV)/.fer

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fer needs Python 3.11 or newer; name one: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv $(VENV)

# Every user's packages; the tests want the developer's tools and PyTorch besides. fer itself has no hash: it is built here.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
HASHED = $(PIP) --require-hashes --no-deps --only-binary :all: --requirement
FROM_TORCH := --retries 1 --index-url $(TORCH_INDEX)
NO_TORCH := echo "no PyTorch from $(TORCH_INDEX): pip looks where it always does"

$(VENV)/.fer: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
ifneq ($(CONSTRAINTS),)
	$(HASHED) .ci/requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
else
	$(PIP) --editable .
endif
	@touch $@

$(VENV)/.fer-dev: $(VENV)/bin/python pyproject.toml $(CONSTRAINTS)
ifneq ($(CONSTRAINTS),)
	$(HASHED) $(CONSTRAINTS)
	$(if $(TORCH_INDEX),$(HASHED) .ci/torch-cpu.txt $(FROM_TORCH) || { $(NO_TORCH); $(HASHED) .ci/torch-cuda.txt; },$(HASHED) .ci/torch-cuda.txt)
	$(PIP) --no-deps --no-build-isolation --editable .
else
	$(if $(TORCH_INDEX),$(PIP) --no-deps $(FROM_TORCH) 'torch>=2.6' || $(NO_TORCH))
	$(PIP) --editable '.[dev,pytorch,tensorflow,faces,board]'
endif
	@touch $@

# CUDA's packages come with PyPI's PyTorch alone.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate $(UPGRADE) \
	--custom-compile-command 'make lock'
CUDA = $(shell sed -nE 's/^((torch|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+|setuptools)==).*/--no-emit-package \1/p' .ci/torch-cuda.txt | tr -d =)

lock: $(VENV)/.fer-dev
	echo 'torch$(shell sed -nE 's/^torch(==[0-9.]+).*/\1/p' .ci/torch-cpu.txt)' | $(COMPILE) - -o .ci/torch-cuda.txt
	$(COMPILE) pyproject.toml .ci/build.in --extra dev --extra pytorch --extra tensorflow --extra faces --extra board --constraint .ci/torch-cuda.txt $(CUDA) -o .ci/requirements-dev.txt
	$(COMPILE) pyproject.toml .ci/build.in --constraint .ci/requirements-dev.txt -o .ci/requirements.txt

# A worker for each core; one takes a whole file, as its tests share what they make.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST)

fast: $(VENV)/.fer-dev
	$(PYTEST) -m "not full"

# Each form that fer exports, by its own runtime: TensorFlow and all tools, each in an environment of its own.
EXPORTS := forms form_traps export_forms export_disk

test-exports: $(VENV)/.fer-dev
	$(PYTEST) --exports --timeout 3600 $(EXPORTS:%=tests/test_%.py)

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

CAFFE := $(CURDIR)/build/caffe
AGREEMENT := built_caffe schema layers solver nets_on_both_engines pytorch_agreement

caffe-test: $(VENV)/.fer-dev
	FER_CAFFE_BUILDS=$(CAFFE) $(BIN)/fer caffe build --test $(if $(SOURCE),--source $(SOURCE))
	$(PYTEST) --caffe-build $(CAFFE)/cpu $(if $(SOURCE),--caffe-source $(SOURCE)) $(AGREEMENT:%=tests/test_%.py)

clean:
	rm -rf $(VENV) build dist *.egg-info
